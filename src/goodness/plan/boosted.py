from __future__ import annotations

from bisect import bisect_right
from typing import Literal

from goodness.clock import Clock
from goodness.plan.base import PLANS, Plan, Segment
from goodness.plan.end_to_end import EndToEnd
from goodness.plan.together import Together
from goodness.types import Inside


@PLANS.register("boosted")
class Boosted(Plan):
    """First the blocks; then, behind frozen blocks, the heads before the last, one by one (BTS-EE).

    Learning rates follow each part of the run by itself.

    Args:
        count: blocks in the network.
        backbone: how the blocks are trained: ``"local"``, all together, each from its own loss; or
            ``"end-to-end"``, from the last block's, as in the paper.
        until: part of the run that belongs to the blocks; the heads share the rest evenly.
    """

    needs_length = True

    def __init__(
        self,
        count: int,
        *,
        backbone: Literal["local", "end-to-end"] = "local",
        until: Inside = 0.6,
    ) -> None:
        super().__init__(count)
        self.first: Plan = Together(count) if backbone == "local" else EndToEnd(count)
        # The whole network's optimizer, where it has one, is the last block's.
        self._blocks = tuple(
            segment._replace(owner=segment.losses[0]) for segment in self.first.segments()
        )
        self._heads = tuple(Segment(range(i, i + 1), (i,), i) for i in range(count - 1))
        self.until = until

    def segments(self) -> tuple[Segment, ...]:
        """Those of the blocks, and every head's."""
        return tuple(dict.fromkeys((*self._blocks, *self._heads)))

    def at(self, clock: Clock) -> tuple[Segment, ...]:
        """The blocks; later every block frozen, with the loss of one head."""
        clock = clock.within_run()
        bounds = self._bounds(clock)
        part = bisect_right(bounds, clock.step) - 1
        own = clock.inside(bounds[part], bounds[part + 1])
        if part == 0:
            return tuple(segment._replace(clock=own) for segment in self._blocks)
        return tuple(
            Segment(
                range(i, i + 1),
                (i,) if i == part - 1 else (),
                i,
                training=False,
                clock=own,
            )
            for i in range(self.count)
        )

    def finished(self, clock: Clock) -> int:
        """The blocks whose heads have learnt, once the blocks have."""
        clock = clock.within_run()
        return max(0, bisect_right(self._bounds(clock), clock.step) - 2)

    def _bounds(self, clock: Clock) -> list[int]:
        """The first step of the blocks, of each head in front of the last, and the run's end."""
        heads = self.count - 1
        if not heads:
            return [0, clock.steps]
        begin = max(1, round(self.until * clock.steps))
        rest = clock.steps - begin
        return [0, *(begin + round(k * rest / heads) for k in range(heads + 1))]
