"""The size that images of several sizes are brought to where none was asked for."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import numpy as np

from goodness.data.source import Source

DEFAULT_SIDE = 64
"""Trains in minutes on a CPU; a photograph still shows what it is of."""
STEP = 8
"""Sides are multiples of it, so that halving them a few times leaves nothing out."""
PROBED, MANY = 64, 4096
"""Images of a part that are looked at first, spread over it, and where these differ."""


def sizes_of(sources: Iterable[Source], probed: int = PROBED) -> list[tuple[int, int]]:
    """(height, width) of so many images of every part; from their headers."""
    found = []
    for source in sources:
        count = min(probed, len(source))
        places = np.linspace(0, len(source) - 1, count).astype(int)
        found += [size for place in places if (size := source.size(int(place))) is not None]
    return found


def default_side(sizes: Iterable[tuple[int, int]]) -> int:
    """The side of the square that images of these sizes are brought to.

    The median of their shorter sides, so that few are enlarged, but at most `DEFAULT_SIDE`.
    """
    side = min(DEFAULT_SIDE, int(statistics.median(min(size) for size in sizes)))
    return side - side % STEP if side > STEP else side


def told(sizes: Iterable[tuple[int, int]], side: int) -> str:
    """What is said of it."""
    widths, heights = [width for _, width in sizes], [height for height, _ in sizes]
    return (
        f"images have several sizes, {min(widths)} to {max(widths)} pixels wide and {min(heights)}"
        f" to {max(heights)} high: their centres are brought to {side}x{side} (--image-size takes"
        " another)"
    )
