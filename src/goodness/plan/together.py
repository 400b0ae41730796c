from __future__ import annotations

from goodness.plan.base import PLANS, Plan, Segment


@PLANS.register("together")
class Together(Plan):
    """All blocks learn at every step, each from its own loss."""

    def segments(self) -> tuple[Segment, ...]:
        """One segment per block."""
        return tuple(Segment(range(i, i + 1), (i,), i) for i in range(self.count))
