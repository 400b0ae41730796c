"""Images that tell how a network answers: confused pairs, the surest and the worst answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from goodness.analysis.survey import Survey
from goodness.data import Split
from goodness.reports.confusion import confused_pairs
from goodness.reports.html import data_uri

PAIRS, OF_A_PAIR = 8, 4
"""So many pairs of classes, and images of each."""
SHOWN = 12
"""The surest and the worst answers."""
SIDE, EXACT = 96, 40
"""Larger images are shown smaller; up to so many pixels a side every one of them is kept."""


@dataclass(frozen=True)
class Example:
    """An image and what the network says about it."""

    picture: str
    """A data URI."""
    name: str
    """Of its file, without the folder."""
    true: str
    answer: str
    right: bool
    confidence: float
    """The probability of the answer."""
    truth: float
    """The probability of the true class."""


@dataclass(frozen=True)
class Pair:
    """Two classes of which one is answered for the other."""

    true: str
    answer: str
    count: int
    share: float
    """Of the images of the true class."""
    examples: list[Example]
    """The surest of these answers."""


@dataclass(frozen=True)
class Examples:
    """The images of a report."""

    pairs: list[Pair]
    """Those that are confused most often, first."""
    best: list[Example]
    """The surest right answers, of different classes."""
    worst: list[Example]
    """Those with the lowest probability of the true class, first."""


def choose(found: Survey, split: Split, classes: Sequence[str], pixels: bool) -> Examples:
    """Choose and read the images of a report.

    Args:
        found: the answers about the split.
        split: read anew, these images only.
        classes: the K names.
        pixels: whether floats are in [0, 1]; else every image is shown on its own scale.
    """
    confusion = found.confusion(len(classes))
    totals = confusion.sum(1).tolist()
    pairs = confused_pairs(confusion.tolist(), PAIRS)
    of_pairs = [_of_pair(found, true, answer) for true, answer, _ in pairs]
    best = _best(found)
    worst = found.truth.argsort(stable=True)[:SHOWN].tolist()
    wanted = list(dict.fromkeys([*best, *worst, *(row for rows in of_pairs for row in rows)]))
    pictures = dict(zip(wanted, _pictures(split, wanted, pixels), strict=True))

    def example(row: int) -> Example:
        true, answer = int(found.y[row]), int(found.final.classes[row])
        return Example(
            picture=pictures[row],
            name=Path(split.name(row)).name,
            true=classes[true],
            answer=classes[answer],
            right=true == answer,
            confidence=float(found.final.confidence[row]),
            truth=float(found.truth[row]),
        )

    return Examples(
        [
            Pair(
                classes[true], classes[answer], n, n / totals[true], [example(row) for row in rows]
            )
            for (true, answer, n), rows in zip(pairs, of_pairs, strict=True)
        ],
        [example(row) for row in best],
        [example(row) for row in worst],
    )


def _of_pair(found: Survey, true: int, answer: int) -> list[int]:
    """The surest of these mistakes."""
    rows = ((found.y == true) & (found.final.classes == answer)).nonzero()[:, 0]
    order = found.final.confidence[rows].argsort(descending=True, stable=True)
    chosen: list[int] = rows[order[:OF_A_PAIR]].tolist()
    return chosen


def _best(found: Survey) -> list[int]:
    """The surest right answer of each class, the surest of these first."""
    best: dict[int, int] = {}
    right = found.right(found.final)
    for row in found.truth.argsort(descending=True, stable=True).tolist():
        if right[row]:
            best.setdefault(int(found.y[row]), row)
            if len(best) == SHOWN:
                break
    return list(best.values())


def _pictures(split: Split, rows: Sequence[int], pixels: bool) -> list[str]:
    """Images of a split as data URIs."""
    if not rows:
        return []
    batches = split.batches(SHOWN, "cpu", order=torch.tensor(rows))
    return [picture(image, pixels) for images, _ in batches for image in images]


def picture(image: Tensor, pixels: bool = True) -> str:
    """An image (C, H, W) as a data URI; grey of its first channel where it has neither 1 nor 3.

    Args:
        image: uint8 or floats.
        pixels: whether floats are in [0, 1].
    """
    values = image if len(image) == 3 else image[:1]
    if image.dtype != torch.uint8:
        low, high = (0.0, 1.0) if pixels else (float(values.min()), float(values.max()))
        values = ((values - low) / max(high - low, 1e-8) * 255).round().to(torch.uint8)
    array = np.ascontiguousarray(values.permute(1, 2, 0).numpy())
    made = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    made.thumbnail((SIDE, SIDE))
    written = BytesIO()
    made.save(written, "WEBP", lossless=max(image.shape[1:]) <= EXACT, quality=80)
    return data_uri(written.getvalue(), "webp")
