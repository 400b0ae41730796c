from __future__ import annotations

from goodness.clock import Clock
from goodness.plan.base import PLANS, Plan, Segment


@PLANS.register("pairs")
class Pairs(Plan):
    """Overlapping pairs: each block's loss trains the block and the one before it.

    Trifecta's overlapping local updates and Distance-Forward's DF-O. Even steps pair (0, 1), (2,
    3), ...; odd steps (0), (1, 2), ...; only a pair's last block has a loss, and the place where
    the graph is cut moves every step. As in Trifecta's released code every loss has an optimizer
    over its pair, so that a weight has two sets of moments.
    """

    def segments(self) -> tuple[Segment, ...]:
        """The pairs of even and of odd steps."""
        return tuple(
            Segment(range(max(last - 1, 0), last + 1), (last,), last) for last in range(self.count)
        )

    def at(self, clock: Clock) -> tuple[Segment, ...]:
        """Losses of blocks 1, 3, ... at even steps, 0, 2, ... at odd ones; a last one may idle."""
        plan = list(self.segments()[1 - clock.step % 2 :: 2])
        left = range(plan[-1].blocks.stop if plan else 0, self.count)
        idle = [Segment(range(i, i + 1), (), i, training=False) for i in left]
        return (*plan, *idle)
