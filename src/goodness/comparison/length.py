"""How long a run has to be to take a number of seconds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

VALIDATIONS = 20
"""A run is validated so many times at most, at equal distances."""
VALIDATION_SHARE = 0.2
"""Fewer times where all of them would take more than this part of a run."""
FEWEST_STEPS = 20
"""No run has fewer, however short the time is."""
CLOSE = 0.01
"""A length that misses the seconds by this part is as good as any nearer one."""


class Length(NamedTuple):
    """A run in epochs, each followed by a validation; they need not be passes over the images."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * self.steps_per_epoch


class Pace(NamedTuple):
    """Seconds that a training step and a validation take."""

    step: float
    validation: float

    def seconds(self, length: Length) -> float:
        """That a run of this length takes."""
        return length.steps * self.step + length.epochs * self.validation

    def times(self, factor: float) -> Pace:
        """Both slower by a factor."""
        return Pace(self.step * factor, self.validation * factor)


def fitting(pace: Pace, seconds: float) -> Length:
    """The length of a run that takes so many seconds.

    Of the numbers of validations from a quarter of the most to the most, the highest one that
    comes close enough to the seconds, else the one that comes closest: steps are whole numbers.
    """
    affordable = int(VALIDATION_SHARE * seconds / max(pace.validation, 1e-9))
    most = min(VALIDATIONS, max(1, affordable))
    lengths = []
    for epochs in range(most, (most - 1) // 4, -1):
        steps = round((seconds / epochs - pace.validation) / pace.step)
        lengths.append(Length(epochs, max(steps, -(-FEWEST_STEPS // epochs))))

    def miss(length: Length) -> float:
        return abs(pace.seconds(length) / seconds - 1)

    close = (length for length in lengths if miss(length) <= CLOSE)
    return next(close, min(lengths, key=miss))


def trial_of(length: Length, share: float) -> Length:
    """The length of a trial of such a run: its part of the steps, and of the validations.

    Args:
        length: of the run.
        share: the part, above 0, at most 1.
    """
    epochs = max(1, round(share * length.epochs))
    steps = max(FEWEST_STEPS, share * length.steps)
    return Length(epochs, max(1, round(steps / epochs)))


def corrected(pace: Pace, runs: Sequence[Mapping[str, Any]]) -> Pace:
    """The pace at which runs would have taken as long as they did, by their median.

    Args:
        pace: the one measured.
        runs: of each its ``epochs``, ``steps_per_epoch`` and ``seconds``.
    """
    factors = [
        run["seconds"] / pace.seconds(Length(run["epochs"], run["steps_per_epoch"])) for run in runs
    ]
    return pace.times(statistics.median(factors)) if factors else pace
