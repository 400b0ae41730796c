from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise


def balanced(costs: Sequence[float], cuts: Sequence[int], parts: int) -> list[range]:
    """Consecutive ranges, of which the most expensive one is as cheap as can be.

    Args:
        costs: of every place.
        cuts: places where a range may begin, beside the first.
        parts: how many ranges; at most one more than there are cuts.

    >>> balanced([4, 1, 1, 2], [1, 2, 3], 2)
    [range(0, 1), range(1, 4)]
    """
    bounds = [0, *cuts, len(costs)]
    until = [0, *accumulate(costs)]
    # For every number of parts and every bound: the lowest cost up to there, and the cuts for it.
    best: dict[int, tuple[float, tuple[int, ...]]] = {
        bound: (until[bound], (0, bound)) for bound in bounds[1:]
    }
    for _ in range(parts - 1):
        best = {
            stop: min(
                (max(cost, until[stop] - until[start]), (*ends, stop))
                for start, (cost, ends) in best.items()
                if start < stop
            )
            for stop in bounds
            if any(start < stop for start in best)
        }
    return [range(start, stop) for start, stop in pairwise(best[len(costs)][1])]
