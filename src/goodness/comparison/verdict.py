"""What seeds tell of the difference between two methods, and what they do not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Word = Literal["above", "below", "level", "open"]

LEVEL = 0.01
"""Methods are level where the interval of their difference lies within a point."""
RULE = (
    "A difference is that of the means over seeds, with Welch's 95 % interval, a seed's deviation"
    " counted as one test image at least: “above” and “below” where it excludes 0, “level” where"
    " it includes 0 and lies within one point, else “open”, as always with a single seed. Each"
    " interval stands alone: of twenty, one is off by chance. It tells what other seeds would"
    " change, not what other test images would."
)


@dataclass(frozen=True)
class Difference:
    """Of a method to another one; as a fraction, 0.01 is a point."""

    mean: float
    half_width: float | None
    """Of the 95 % interval; None with a single seed."""
    word: Word


def difference(own: Sequence[float], other: Sequence[float], examples: int) -> Difference:
    """How a method stands to another one.

    Args:
        own: test accuracy of each seed, 0 to 1.
        other: of the other method.
        examples: test images.
    """
    from scipy.stats import t as student  # late: it takes half a second

    mean = statistics.mean(own) - statistics.mean(other)
    if min(len(own), len(other)) < 2:
        return Difference(mean, None, "open")
    # Seeds may agree by chance, but not to less than an image.
    errors = [max(statistics.variance(all_), examples**-2) / len(all_) for all_ in (own, other)]
    # Welch-Satterthwaite.
    freedom = sum(errors) ** 2 / sum(
        error**2 / (len(all_) - 1) for error, all_ in zip(errors, (own, other), strict=True)
    )
    half = float(student.ppf(0.975, freedom)) * math.sqrt(sum(errors))
    word: Word = "open"
    if abs(mean) > half:
        word = "above" if mean > 0 else "below"
    elif abs(mean) + half <= LEVEL:
        word = "level"
    return Difference(mean, half, word)
