from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from goodness.methods.base import FAST_FRAME
from goodness.registry import Registry


@dataclass(frozen=True)
class Recipe:
    """A training that was measured, or says that it was not.

    Args:
        name: what the command line and the registry call it, ``<data>-fast`` or ``<data>-best``.
        method: whose training it is.
        values: configuration values that any method can have, ``data`` among them; see
            `goodness.config.Config`. What the user gives rules over them.
        own: further values of the method itself, which another one does not take.
        hardware: on what `minutes` and `accuracy` were measured; of a recipe that was not, what it
            is made for.
        minutes: of training, validation and test.
        accuracy: mean test accuracy in % and the standard deviation between seeds; None where it
            was not measured.
        seeds: how many runs that is the mean of.
        note: what else a user should know.
    """

    name: str
    method: str
    values: Mapping[str, Any]
    hardware: str
    own: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    accuracy: tuple[float, float] | None = None
    seeds: int = 0
    note: str = ""

    def values_for(self, method: str | None) -> dict[str, Any]:
        """What a method is trained with; None: the recipe's own."""
        if method in (None, self.method):
            return {"method": self.method, **self.values, **self.own}
        return dict(self.values)

    @property
    def command(self) -> str:
        """The command line that runs it."""
        return f"goodness train --recipe {self.name}"


def fast_frame(**values: Any) -> dict[str, Any]:
    """The frame of the fast recipes with other values, option by option."""
    options = {
        key: {**FAST_FRAME.get(key, {}), **value} if isinstance(value, Mapping) else value
        for key, value in values.items()
    }
    return {**FAST_FRAME, **options}


BF16 = "in bfloat16: a CPU without AVX512-BF16 or AMX is faster with --amp none"
"""Of the recipes for CPUs."""

RECIPES: Registry[Recipe] = Registry("recipe", __package__)


def register(recipe: Recipe) -> Recipe:
    """Enter a recipe under its own name."""
    return RECIPES.register(recipe.name)(recipe)
