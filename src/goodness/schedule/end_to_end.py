from __future__ import annotations

from goodness.schedule.base import SCHEDULES, Schedule, Segment


@SCHEDULES.register("end-to-end")
class EndToEnd(Schedule):
    """Backpropagation: one segment, judged at its last block."""

    def segments(self) -> tuple[Segment, ...]:
        """The whole network."""
        return (Segment(range(self.count), (self.count - 1,), 0),)


@SCHEDULES.register("deep-supervision")
class DeepSupervision(Schedule):
    """Backpropagation of the sum of all blocks' losses: local heads without the detaching."""

    def segments(self) -> tuple[Segment, ...]:
        """The whole network, every block judged."""
        return (Segment(range(self.count), tuple(range(self.count)), 0),)
