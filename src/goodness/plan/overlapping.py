from __future__ import annotations

from goodness.plan.base import PLANS, Plan, Segment


@PLANS.register("overlapping")
class Overlapping(Plan):
    """Every block learns from its own loss and, through the next block, from that one's.

    A window of two at every step, as HPFF's cascade modules (arXiv 2407.05638). The next block is
    run a second time for it, as it will be in its own turn, and is left as it is: it learns in its
    own turn alone, by an optimizer of its own.
    """

    def segments(self) -> tuple[Segment, ...]:
        """One segment per block, through the next one."""
        last = self.count - 1
        return tuple(
            Segment(range(i, i + 1), (i,), i, through=range(i + 1, i + 2) if i < last else range(0))
            for i in range(self.count)
        )
