"""The search climbs until the best lies inside, against a search of the whole ladder."""

from __future__ import annotations

import itertools

import pytest

from goodness.comparison.search import EXTENSIONS, Climb, climb, rates


def climbed(scores, start):
    """A climb over given scores, and the places in the order they were tried."""
    asked = []

    def score(place):
        asked.append(place)
        return scores[place]

    return climb(len(scores), start, score), asked


@pytest.mark.parametrize(
    ("scores", "start", "best", "tried", "at_end"),
    [
        ([0, 0, 1, 3, 2, 0, 0], 3, 3, {2, 3, 4}, False),
        ([0, 0, 1, 2, 3, 1, 0], 3, 4, {2, 3, 4, 5}, False),
        ([1, 4, 3, 2, 1, 0, 0], 3, 1, {0, 1, 2, 3, 4}, False),
        # The rungs end: nothing lies beyond, as beyond a weight decay of 0.
        ([5, 4, 3], 1, 0, {0, 1, 2}, False),
        ([7], 0, 0, {0}, False),
        # A failed trial is an end that is worse.
        ([0, 0, 1, 2, None, 9], 3, 3, {2, 3, 4}, False),
        # All have failed: a lower rate is tried.
        ([5, 6, None, None, None], 3, 1, {0, 1, 2, 3, 4}, False),
        # Equals: the one nearest to the start, then the lower one.
        ([0, 5, 5, 5, 0], 2, 2, {1, 2, 3}, False),
        ([0, 0, 5, 4, 5, 0], 3, 2, {1, 2, 3, 4}, False),
    ],
)
def test_the_best_lies_inside(scores, start, best, tried, at_end):
    found, asked = climbed(scores, start)

    assert (found.best, set(found.scores), found.at_end) == (best, tried, at_end)
    assert len(asked) == len(set(asked))


def test_the_search_is_bounded_and_says_that_it_has_not_ended():
    found, asked = climbed(list(range(20)), 3)

    assert len(asked) == 3 + EXTENSIONS
    assert found == Climb(4 + EXTENSIONS, {p: p for p in range(2, 5 + EXTENSIONS)}, at_end=True)
    nothing, asked = climbed([None] * 20, 10)
    assert (nothing.best, nothing.at_end, len(asked)) == (None, False, 3 + EXTENSIONS)


def test_every_single_peak_in_reach_is_found():
    for peak, start in itertools.product(range(9), range(9)):
        scores = [-abs(place - peak) for place in range(9)]
        found, _ = climbed(scores, start)
        if abs(peak - start) <= EXTENSIONS:
            assert (found.best, found.at_end) == (peak, False)


def test_rates_are_multiples_of_the_method_s_own():
    ladder, start = rates(0.00125)

    assert ladder[start] == 0.00125
    assert ladder[start - 1 : start + 2] == pytest.approx([0.00042, 0.00125, 0.0037], rel=0.02)
    assert all(b / a == pytest.approx(3, rel=0.05) for a, b in itertools.pairwise(ladder))
    found, _ = climbed(ladder, start)  # the search ends before the ladder does
    assert found.at_end
