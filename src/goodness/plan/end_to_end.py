from __future__ import annotations

from goodness.plan.base import PLANS, Plan, Segment


@PLANS.register("end-to-end")
class EndToEnd(Plan):
    """Backpropagation: one segment, with the loss of its last block."""

    def segments(self) -> tuple[Segment, ...]:
        """The whole network."""
        return (Segment(range(self.count), (self.count - 1,), 0),)


@PLANS.register("deep-supervision")
class DeepSupervision(Plan):
    """Backpropagation of the sum of all blocks' losses: local heads without the detaching."""

    def segments(self) -> tuple[Segment, ...]:
        """The whole network, with every block's loss."""
        return (Segment(range(self.count), tuple(range(self.count)), 0),)
