"""Differences against scipy's Welch interval, and words that claim no more."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from goodness.comparison.verdict import difference


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ([0.80, 0.82, 0.81], [0.70, 0.73, 0.74]),
        ([0.80, 0.82], [0.85, 0.851]),
        ([0.5, 0.6, 0.7, 0.4, 0.55], [0.52, 0.61]),
    ],
)
def test_the_interval_is_welch_s(own, other):
    found = difference(own, other, 10**6)
    exact = stats.ttest_ind(own, other, equal_var=False).confidence_interval(0.95)

    assert found.mean == pytest.approx((exact.low + exact.high) / 2)
    assert found.half_width == pytest.approx((exact.high - exact.low) / 2)


@pytest.mark.parametrize(
    ("own", "other", "word"),
    [
        ([0.80, 0.801, 0.802], [0.70, 0.701, 0.702], "above"),
        ([0.70, 0.701, 0.702], [0.80, 0.801, 0.802], "below"),
        ([0.801, 0.803, 0.802], [0.801, 0.802, 0.804], "level"),
        ([0.78, 0.82, 0.80], [0.79, 0.83, 0.81], "open"),
        ([0.9], [0.1, 0.1], "open"),
        ([0.9, 0.9], [0.1], "open"),
    ],
)
def test_words_claim_what_the_interval_shows(own, other, word):
    found = difference(own, other, 10_000)

    assert found.word == word
    assert (found.half_width is None) == (min(len(own), len(other)) == 1)


def test_seeds_that_agree_by_chance_prove_nothing_below_an_image():
    assert difference([0.90, 0.90], [0.91, 0.91], 100).word == "open"
    assert math.isfinite(difference([0.9, 0.9], [0.9, 0.9], 100).half_width)
