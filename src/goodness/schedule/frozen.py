from __future__ import annotations

from goodness.clock import Clock
from goodness.schedule.base import Schedule, Segment


class Frozen(Schedule):
    """The first blocks stay as they are: neither judged nor in training mode.

    Args:
        schedule: of the blocks behind them, which have the whole run.
        first: the first block that learns; not the network's first one.
    """

    def __init__(self, schedule: Schedule, first: int) -> None:
        super().__init__(first + schedule.count)
        self.schedule = schedule
        self.first = first
        self.needs_length = schedule.needs_length

    def segments(self) -> tuple[Segment, ...]:
        """The other schedule's, behind the frozen blocks."""
        return tuple(self._behind(segment) for segment in self.schedule.segments())

    def plan(self, clock: Clock) -> tuple[Segment, ...]:
        """The frozen blocks, and what the other schedule plans."""
        frozen = Segment(range(self.first), (), 0, live=False)
        return (frozen, *(self._behind(segment) for segment in self.schedule.plan(clock)))

    def finished(self, clock: Clock) -> int:
        """The frozen blocks, and those behind them that have learnt."""
        return self.first + self.schedule.finished(clock)

    def _behind(self, segment: Segment) -> Segment:
        blocks = segment.blocks
        return segment._replace(
            blocks=range(blocks.start + self.first, blocks.stop + self.first),
            judged=tuple(place + self.first for place in segment.judged),
            owner=segment.owner + self.first,
        )
