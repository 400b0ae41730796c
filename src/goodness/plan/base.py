from __future__ import annotations

from typing import NamedTuple

from goodness.clock import Clock
from goodness.registry import Registry

PLANS: Registry[type[Plan]]


class Segment(NamedTuple):
    """Consecutive blocks that share one graph; the input of the first one is detached."""

    blocks: range
    losses: tuple[int, ...]
    """The blocks whose losses are summed; none where the segment does not learn."""
    owner: int
    """Which optimizer updates these blocks."""
    training: bool = True
    """Whether the blocks run in training mode; a frozen one runs as in evaluation."""
    clock: Clock | None = None
    """The clock that the learning rate follows; None for the run's."""
    through: range = range(0)
    """Blocks behind them from whose losses they learn too; these stay as they are in this turn."""


class Plan:
    """A pure function of the clock: it holds no state, so that resuming needs none.

    Args:
        count: blocks in the network.
    """

    needs_length = False
    """Whether the plan depends on the run's length."""

    def __init__(self, count: int) -> None:
        self.count = count

    def segments(self) -> tuple[Segment, ...]:
        """Every segment that can learn, from which objectives and optimizers are made."""
        raise NotImplementedError

    def at(self, clock: Clock) -> tuple[Segment, ...]:
        """The segments of this step, in network order, every block in one; here always all."""
        return self.segments()

    def finished(self, clock: Clock) -> int:
        """Leading blocks that are frozen at this step and stay so: it never falls in a run."""
        return 0


PLANS = Registry("plan", __package__)
