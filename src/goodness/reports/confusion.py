"""The confusion matrix of an evaluation as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from goodness.reports.figure import INK, plain, save_figure, short

MOST_TEXTS = 20
"""Up to this many classes the counts fit into the cells."""
MOST_NAMES = 40
"""Up to this many classes the names fit along the axes; of more the worst mistakes are listed."""
MOST_PAIRS, LONGEST_NAME = 10, 24


def draw_confusion(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], path: Path, title: str = ""
) -> None:
    """Draw the counts as a PNG, coloured by their share of the true class.

    Args:
        confusion: (K, K) counts; row = true class, column = answer.
        classes: the K names.
        path: the file to write.
        title: above the picture.
    """
    save_figure(confusion_figure(confusion, classes, title), path, dpi=150)


def confusion_figure(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str = ""
) -> Figure:
    """The counts as a matrix; the arguments are those of `draw_confusion`."""
    counts = np.asarray(confusion)
    # A class without examples has a row of zeros, not of 0 / 0.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [short(name, k, LONGEST_NAME) for k, name in enumerate(classes)]
    count = len(names)
    named = count <= MOST_NAMES
    side = min(max(4.5, 1.5 + 0.5 * count), 15) if named else 7.5
    size = min(9.0, 72 * side / count * 0.6) if named else 9.0

    figure = Figure(figsize=(side + 1, side + (0 if named else 2)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if named:
        turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        if max(map(len, names)) <= 2:
            turned = {}
        axes.set_xticks(range(count), names, fontsize=size, **turned)
        axes.set_yticks(range(count), names, fontsize=size)
    else:
        numbers = range(0, count, 10 * math.ceil(count / 200))
        axes.set_xticks(numbers)
        axes.set_yticks(numbers)
        axes.tick_params(labelsize=size, labelcolor=INK)
        figure.supxlabel(_worst(counts, classes), color=INK, fontsize=size)
    axes.set_xlabel("answer" if named else "answer (number of the class)", color=INK)
    axes.set_ylabel("true class", color=INK)
    axes.set_title(plain(title), color=INK, fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if count <= MOST_TEXTS:
        for (row, column), number in np.ndenumerate(counts):
            if number:
                colour = "white" if shares[row, column] > 0.5 else INK
                place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size - 1}
                axes.text(column, row, f"{number}", color=colour, **place)
    bar = figure.colorbar(image, format=PercentFormatter(1), shrink=0.8, pad=0.02)
    bar.set_label("share of the true class", color=INK)
    bar.outline.set_visible(False)
    return figure


def confused_pairs(
    confusion: Sequence[Sequence[int]] | np.ndarray[Any, Any], most: int = MOST_PAIRS
) -> list[tuple[int, int, int]]:
    """The pairs of classes that are confused most often: true class, answer, count."""
    counts = np.asarray(confusion)
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    places = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = (divmod(int(place), len(counts)) for place in places)
    return [(true, answer, n) for true, answer in pairs if (n := int(wrong[true, answer]))]


def _worst(counts: np.ndarray[Any, Any], classes: Sequence[str]) -> str:
    """The pairs of classes that are confused most often, a line each."""
    lines = ["most confused (true -> answer: count)"]
    for true, answer, number in confused_pairs(counts):
        pair = " -> ".join(short(classes[k], k, 40) for k in (true, answer))
        lines.append(f"{pair}: {number}")
    return "\n".join(lines) if len(lines) > 1 else "no class is confused with another"
