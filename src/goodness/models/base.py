from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from goodness.errors import InputError
from goodness.registry import Registry
from goodness.types import Shape

FAMILIES = ("torchvision", "timm")
MADE_OF = ("norm", "pool", "activation", "order", "init", "whiten")
"""Options that a method chooses for any chain; a network's shape is its own."""


class Models(Registry[Callable[..., nn.Module]]):
    """The models of this package, and ``torchvision/<name>`` and ``timm/<name>``.

    A name with a slash is that of a network with its own classifier; ``module/<class>`` and
    ``module`` stand for one that was passed to `goodness.localize`.
    """

    def __getitem__(self, name: str) -> Callable[..., nn.Module]:
        family, slash, model = name.partition("/")
        if family == "module":
            return _passed
        if slash and family in FAMILIES:
            from goodness.models.zoo import from_family  # late: imports timm and torchvision

            return from_family(family, model)
        if name not in self.names():
            from goodness.models.zoo import names

            if whose := [family for family in FAMILIES if name in names(family)]:
                full = " or ".join(f"{family}/{name}" for family in whose)
                raise InputError(f"unknown model '{name}'; did you mean {full}?")
        return super().__getitem__(name)

    def has_classifier(self, name: str) -> bool:
        """Whether the model of this name has a classifier of its own."""
        return "/" in name

    def kept(self, given: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Those options of another model that the one with this name keeps."""
        return {key: v for key, v in super().kept(given, name).items() if key in MADE_OF}


def _passed(image_shape: Shape, num_classes: int) -> nn.Module:
    """A network that cannot be built by name."""
    raise InputError("this network was made of a module of yours: pass it to localize again")


MODELS = Models("model", __package__)
"""Builders ``(image_shape, num_classes, *, options) -> nn.Module``, with the input's (C, H, W).
Those of this package return a chain of features without a classifier, an `nn.Sequential`."""
