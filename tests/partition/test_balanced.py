from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from goodness.partition.balanced import balanced


def test_ranges_of_about_equal_cost():
    assert balanced([4, 1, 1, 2], [1, 2, 3], 2) == [range(0, 1), range(1, 4)]
    assert balanced([1, 1, 1, 9], [1, 2, 3], 3) == [range(0, 1), range(1, 3), range(3, 4)]
    assert balanced([5, 1, 1, 1], [2], 2) == [range(0, 2), range(2, 4)]
    assert balanced([0, 0, 0], [1, 2], 3) == [range(0, 1), range(1, 2), range(2, 3)]
    assert balanced([3, 4], [], 1) == [range(0, 2)]


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_no_other_cuts_are_better(parts):
    costs, cuts = [3, 1, 4, 1, 5, 9, 2, 6], [1, 2, 4, 5, 7]

    def dearest(bounds):
        return max(sum(costs[i:j]) for i, j in pairwise([0, *bounds, len(costs)]))

    found = balanced(costs, cuts, parts)

    assert len(found) == parts
    best = min(dearest(chosen) for chosen in combinations(cuts, parts - 1))
    assert max(sum(costs[part.start : part.stop]) for part in found) == best
