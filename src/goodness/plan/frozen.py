from __future__ import annotations

from goodness.clock import Clock
from goodness.plan.base import Plan, Segment


class Frozen(Plan):
    """The first blocks stay as they are: without a loss, in evaluation mode.

    Args:
        plan: of the blocks behind them, which have the whole run.
        first: the first block that learns; not the network's first one.
    """

    def __init__(self, plan: Plan, first: int) -> None:
        super().__init__(first + plan.count)
        self.plan = plan
        self.first = first
        self.needs_length = plan.needs_length

    def segments(self) -> tuple[Segment, ...]:
        """The other plan's, behind the frozen blocks."""
        return tuple(self._behind(segment) for segment in self.plan.segments())

    def at(self, clock: Clock) -> tuple[Segment, ...]:
        """The frozen blocks, and what the other plan has."""
        frozen = Segment(range(self.first), (), 0, training=False)
        return (frozen, *(self._behind(segment) for segment in self.plan.at(clock)))

    def finished(self, clock: Clock) -> int:
        """The frozen blocks, and those behind them that have learnt."""
        return self.first + self.plan.finished(clock)

    def _behind(self, segment: Segment) -> Segment:
        blocks, through = segment.blocks, segment.through
        return segment._replace(
            blocks=range(blocks.start + self.first, blocks.stop + self.first),
            through=range(through.start + self.first, through.stop + self.first),
            losses=tuple(place + self.first for place in segment.losses),
            owner=segment.owner + self.first,
        )
