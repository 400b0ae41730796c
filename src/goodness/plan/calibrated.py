from __future__ import annotations

from goodness.clock import Clock
from goodness.plan.base import PLANS, Segment
from goodness.plan.together import Together


@PLANS.register("calibrated")
class Calibrated(Together):
    """For blocks that are not trained: one epoch for their batch norms' statistics, then the heads.

    Of a run of a single epoch the first half is for the statistics.

    Afterwards the blocks are frozen, so that a head has the same features of an image at every
    epoch and at test time.
    """

    needs_length = True

    def at(self, clock: Clock) -> tuple[Segment, ...]:
        """All blocks: without losses in the first epoch, frozen with losses from the second on."""
        first = clock.step < min(clock.steps_per_epoch, clock.steps // 2)
        return tuple(
            segment._replace(losses=()) if first else segment._replace(training=False)
            for segment in self.segments()
        )
