"""Where a run is. Plans and rates are pure functions of it, so that resuming needs no state."""

from __future__ import annotations

from typing import NamedTuple


class Clock(NamedTuple):
    """Where the run is: ``step`` counts from 0 over all epochs."""

    step: int
    steps_per_epoch: int
    epochs: float
    """Length of the run; not whole for a window inside a run."""

    @property
    def epoch(self) -> int:
        """The epoch, counted from 0."""
        return self.step // self.steps_per_epoch

    @property
    def steps(self) -> int:
        """Length of the run in steps."""
        return round(self.steps_per_epoch * self.epochs)

    def inside(self, start: int, end: int) -> Clock:
        """The same moment as a step of a window of the run, ``start <= step < end``."""
        return Clock(self.step - start, self.steps_per_epoch, (end - start) / self.steps_per_epoch)

    def within_run(self) -> Clock:
        """The same, or the run's last step if that is over."""
        return self if self.step < self.steps else self._replace(step=self.steps - 1)
