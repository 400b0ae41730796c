from __future__ import annotations

from typing import NamedTuple

from goodness.registry import Registry

SCHEDULES: Registry[type[Schedule]]


class Segment(NamedTuple):
    """Consecutive blocks that share one graph; the input of the first one is detached."""

    blocks: range
    judged: tuple[int, ...]
    """The blocks whose losses are summed."""
    owner: int
    """Which optimizer updates these blocks."""


class Schedule:
    """A pure function of the clock: it holds no state, so that resuming needs none.

    Args:
        count: blocks in the network.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def segments(self) -> tuple[Segment, ...]:
        """Every segment that can occur, from which objectives and optimizers are made."""
        raise NotImplementedError

    def plan(self, step: int) -> tuple[Segment, ...]:
        """The segments of this step (counted from 0), in network order; here always all."""
        return self.segments()


SCHEDULES = Registry("schedule", __package__)
