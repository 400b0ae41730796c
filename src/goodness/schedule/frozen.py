from __future__ import annotations

from goodness.clock import Clock
from goodness.schedule.base import Schedule, Segment


class Frozen(Schedule):
    """Another schedule whose first blocks stay as they are: neither judged nor in training mode.

    Args:
        schedule: says when the others learn.
        first: the first block that learns.
    """

    def __init__(self, schedule: Schedule, first: int) -> None:
        super().__init__(schedule.count)
        self.schedule = schedule
        self.first = first
        self.needs_length = schedule.needs_length

    def segments(self) -> tuple[Segment, ...]:
        """Of the other schedule, what lies behind the frozen blocks."""
        cut = (part for segment in self.schedule.segments() for part in self._cut(segment))
        return tuple(part for part in cut if part.blocks[0] >= self.first)

    def plan(self, clock: Clock) -> tuple[Segment, ...]:
        """The other schedule's, cut where the frozen blocks end."""
        return tuple(part for segment in self.schedule.plan(clock) for part in self._cut(segment))

    def finished(self, clock: Clock) -> int:
        """The frozen blocks, and those behind them that have learnt."""
        return max(self.first, self.schedule.finished(clock))

    def _cut(self, segment: Segment) -> tuple[Segment, ...]:
        """A segment as a frozen and a learning part, if it has both."""
        blocks = segment.blocks
        frozen = segment._replace(
            blocks=range(blocks.start, min(blocks.stop, self.first)), judged=(), live=False
        )
        free = segment._replace(
            blocks=range(max(blocks.start, self.first), blocks.stop),
            judged=tuple(place for place in segment.judged if place >= self.first),
        )
        return tuple(part for part in (frozen, free) if part.blocks)
