from __future__ import annotations

from goodness.clock import Clock
from goodness.errors import InputError
from goodness.functional import stretch
from goodness.plan.base import PLANS, Segment
from goodness.plan.together import Together
from goodness.types import NonNegative, Positive, PositiveShare

Window = tuple[NonNegative, Positive]


@PLANS.register("windows")
class Windows(Together):
    """Every block learns inside its own part of the run, and is frozen before and after it.

    CwComp's interleaved layer training (ILT, arXiv 2312.12668). Learning rates follow the block's
    own window.

    Args:
        count: blocks in the network.
        length: each window's part of the run; their starts are spread evenly.
        windows: (start, end) of each block instead, in any unit, e.g. epochs of the paper; with
            more or fewer blocks than windows each has the nearest one.
        total: the run's length in that unit; None: the last end. What is left belongs to the
            readouts.

    Raises:
        InputError: no window, one that ends before it starts, or one behind the run's end.
    """

    needs_length = True

    def __init__(
        self,
        count: int,
        *,
        length: PositiveShare = 0.5,
        windows: list[Window] | None = None,
        total: Positive | None = None,
    ) -> None:
        super().__init__(count)
        if windows is None:
            starts = [i * (1 - length) / max(count - 1, 1) for i in range(count)]
            windows = [(start, start + length) for start in starts]
            total = total or 1.0
        if not windows:
            raise InputError("plan.windows: at least one (start, end) is needed")
        if backwards := [w for w in windows if w[0] >= w[1]]:
            raise InputError(f"plan.windows: {backwards[0]} ends before it starts")
        last = max(end for _, end in windows)
        if total is not None and last > total * (1 + 1e-9):
            raise InputError(f"plan.total: {total} is before the last window's end, {last}")
        self.windows = [
            (start / (total or last), end / (total or last))
            for start, end in stretch(windows, count)
        ]

    def at(self, clock: Clock) -> tuple[Segment, ...]:
        """One segment per block, those outside their window frozen."""
        clock, plan = clock.within_run(), []
        for segment, (first, beyond) in zip(self.segments(), self._steps(clock), strict=True):
            if first <= clock.step < beyond:
                plan.append(segment._replace(clock=clock.inside(first, beyond)))
            else:
                plan.append(segment._replace(losses=(), training=False))
        return tuple(plan)

    def finished(self, clock: Clock) -> int:
        """Leading blocks whose windows are over."""
        ends = (beyond for _, beyond in self._steps(clock))
        return next((i for i, end in enumerate(ends) if clock.step < end), self.count)

    def _steps(self, clock: Clock) -> list[tuple[int, int]]:
        """The first step of every window and the one behind it."""
        return [(round(s * clock.steps), round(e * clock.steps)) for s, e in self.windows]


@PLANS.register("annealed")
class Annealed(Windows):
    """All blocks start together, and the earlier ones are frozen earlier (FreezeOut, 1706.04983).

    A block's learning rate follows the part of the run until then: with a schedule that ends at 0
    it is 0 when the block is frozen. A frozen block has neither a loss nor a backward pass.

    Args:
        count: blocks in the network.
        first: part of the run after which the first block is frozen; for the others it rises
            evenly to the whole run for the last one.
    """

    def __init__(self, count: int, *, first: PositiveShare = 0.7) -> None:
        last = max(count - 1, 1)
        ends = [1 - (1 - first) * (count - 1 - i) / last for i in range(count)]
        super().__init__(count, windows=[(0.0, end) for end in ends], total=1.0)


@PLANS.register("sequential")
class Sequential(Windows):
    """One block after another, each with an equal part of the run (greedy layer-wise training).

    Args:
        count: blocks in the network.
        until: part of the run that belongs to the blocks; the rest is for the readouts.
    """

    def __init__(self, count: int, *, until: PositiveShare = 1.0) -> None:
        super().__init__(count, windows=[(i, i + 1) for i in range(count)], total=count / until)
