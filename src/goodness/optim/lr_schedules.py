"""Learning-rate schedules as pure functions of the clock, so that resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from goodness.clock import Clock
from goodness.registry import Registry
from goodness.types import PositiveShare, Share

Every = Literal["step", "epoch"]

LR_SCHEDULES: Registry[Callable[..., float]] = Registry("lr_schedule")
"""Functions ``(clock, *, options) -> factor`` on the optimizer's learning rate."""


@LR_SCHEDULES.register("constant")
def constant(clock: Clock) -> float:
    """Always 1."""
    return 1.0


@LR_SCHEDULES.register("cosine")
def cosine(
    clock: Clock,
    *,
    warmup: Share = 0.0,
    final: Share = 0.0,
    every: Every = "step",
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
    done, length = _passed(clock, every)
    time = done / length
    if time < warmup:
        return _risen(done, length, warmup)
    return _half_cosine(1.0, final, (time - warmup) / max(1 - warmup, 1e-12))


@LR_SCHEDULES.register("one-cycle")
def one_cycle(
    clock: Clock,
    *,
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    start: PositiveShare = 0.04,
    final: PositiveShare = 4e-6,
) -> float:
    """Half a cosine up to 1, and another one down; torch's OneCycleLR.

    Args:
        clock: where the run is.
        warmup: part of the run that the rate rises.
        start: the factor at the first step.
        final: the factor at the last step.

    >>> [round(one_cycle(Clock(step, 1, 4)), 3) for step in range(4)]
    [0.04, 0.812, 0.283, 0.0]
    """
    peak, last = warmup * clock.steps - 1, clock.steps - 1
    step = min(clock.step, last)
    if step < peak:
        return _half_cosine(start, 1.0, step / peak)
    return _half_cosine(1.0, final, (step - peak) / (last - peak))


def _passed(clock: Clock, every: Every) -> tuple[int, float]:
    """The steps or epochs that are over, and how many the run has."""
    return (clock.epoch, clock.epochs) if every == "epoch" else (clock.step, clock.steps)


def _risen(done: int, length: float, warmup: float) -> float:
    """The factor of a linear warm-up, at most 1."""
    # Half a step (or epoch) ahead, so that the first one is not lost to a rate of 0.
    return min(1.0, (done / length + 0.5 / length) / warmup) if warmup else 1.0


def _half_cosine(start: float, end: float, time: float) -> float:
    """From ``start`` at time 0 to ``end`` at time 1."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * time))


@LR_SCHEDULES.register("linear")
def linear(
    clock: Clock,
    *,
    start: Share = 0.5,
    warmup: Share = 0.0,
    every: Every = "epoch",
) -> float:
    """Linear warm-up, then 1 until the part ``start`` of the run, then in a straight line to 0.

    Forward-Forward's released code: 2 (1 + E - e) / E in the second half, e counted from 1.

    Args:
        clock: where the run is.
        start: part of the run, 0 to 1, after which the rate falls, or after the warm-up if that
            ends later.
        warmup: part of the run that the rate rises from 0.
        every: whether the rate moves at every step or stays the same within an epoch.

    >>> [linear(Clock(step, 1, 4)) for step in range(4)]
    [1.0, 1.0, 1.0, 0.5]
    >>> [linear(Clock(step, 4, 1), start=0, every="step") for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    done, length = _passed(clock, every)
    left = (length - done) / (length * max(1 - max(start, warmup), 1e-12))
    return float(min(1.0, left, _risen(done, length, warmup)))


@LR_SCHEDULES.register("steps")
def steps(
    clock: Clock,
    *,
    factor: Share = 0.1,
    at: list[Share] = [0.5, 0.75],  # noqa: B006
) -> float:
    """Times ``factor`` at each of some parts of the run.

    >>> [steps(Clock(step, 1, 4), factor=0.5) for step in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """
    passed = sum(clock.step >= part * clock.steps - 1e-6 for part in at)
    return factor**passed
