"""Widths that give a number of trained parameters, against a count over all factors."""

from __future__ import annotations

import pytest

from goodness import InputError, resolve
from goodness.comparison.widths import _trained, matching, widths_of

SHAPE = (1, 8, 8)
SMALL = {"method": "backprop", "model": {"name": "small-cnn", "widths": [4, 6], "pools": [1]}}
SMALL["readouts"] = {"probe": None}


def count(config, widths):
    """9 i o weights, and a norm's scale and shift; the classifier has a bias."""
    inputs, total = 1, 0
    for width in widths:
        total += 9 * inputs * width + 2 * width
        inputs = width
    return total + 10 * inputs + 10


def test_trained_parameters_are_counted_with_the_head():
    config = resolve(SMALL)

    assert _trained(config, [4, 6], SHAPE, 10) == count(config, [4, 6])


@pytest.mark.parametrize("wanted", [30, 400, 1000, 7777])
def test_the_nearest_widths_are_found(wanted):
    config = resolve(SMALL)
    widths, found = matching(config, wanted, SHAPE, 10)

    factors = [place / 500 for place in range(1, 10_000)]
    every = {tuple(max(1, round(f * w)) for w in (4, 6)) for f in factors}
    nearest = min(abs(count(config, widths) - wanted) for widths in every)
    assert found == count(config, widths)
    assert abs(found - wanted) == nearest


def test_a_model_without_widths_and_an_impossible_number_are_refused():
    with pytest.raises(InputError, match=r"^match_parameters: .*'vgg8b' has no widths"):
        widths_of(resolve({"method": "backprop", "model": "vgg8b"}))
    with pytest.raises(InputError, match="100 times as large"):
        matching(resolve({**SMALL, "model": {"name": "small-cnn", "widths": [1]}}), 9999, SHAPE, 2)
