"""Learning-rate schedules as pure functions of the clock, so that resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from goodness.registry import Registry


class Clock(NamedTuple):
    """Where the run is: ``step`` counts from 0 over all epochs."""

    step: int
    steps_per_epoch: int
    epochs: int

    @property
    def epoch(self) -> int:
        """The epoch, counted from 0."""
        return self.step // self.steps_per_epoch


RATES: Registry[Callable[..., float]] = Registry("rate")
"""Functions ``(clock, *, options) -> factor`` on the optimizer's learning rate."""
Part = Annotated[float, Field(ge=0, le=1)]


@RATES.register("constant")
def constant(clock: Clock) -> float:
    """Always 1."""
    return 1.0


@RATES.register("cosine")
def cosine(
    clock: Clock,
    *,
    warmup: Part = 0.0,
    final: Part = 0.0,
    every: Literal["step", "epoch"] = "step",
) -> float:
    """Linear warm-up, then half a cosine from 1 down to ``final``.

    Args:
        clock: where the run is.
        warmup: part of the run, 0 to 1, that the rate rises from 0.
        final: the factor at the end.
        every: whether the rate moves at every step or stays the same within an epoch.

    >>> [round(cosine(Clock(step, 1, 4)), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if every == "epoch":
        time = clock.epoch / clock.epochs
    else:
        time = clock.step / (clock.steps_per_epoch * clock.epochs)
    if time < warmup:
        # Half a step ahead, so that the first step is not lost to a rate of 0.
        return (time + 0.5 / (clock.steps_per_epoch * clock.epochs)) / warmup
    time = (time - warmup) / max(1 - warmup, 1e-12)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * time))
