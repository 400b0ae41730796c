"""The confusion matrix of an evaluation as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from goodness.reports.figure import INK, plain, save_figure

MOST_TEXTS = 20
"""Up to this many classes the counts fit into the cells."""


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
    counts = np.asarray(confusion)
    # A class without examples has a row of zeros, not of 0 / 0.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [plain(name) for name in classes]
    count = len(names)
    side = min(max(4.5, 1.5 + 0.5 * count), 15)
    size = min(9.0, 72 * side / count * 0.6)

    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(
        range(count), names, fontsize=size, rotation=45, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(count), names, fontsize=size)
    axes.set_xlabel("answer", color=INK)
    axes.set_ylabel("true class", color=INK)
    axes.set_title(plain(title), color=INK, fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if count <= MOST_TEXTS:
        for (row, column), number in np.ndenumerate(counts):
            if number:
                colour = "white" if shares[row, column] > 0.5 else INK
                axes.text(
                    column,
                    row,
                    f"{number}",
                    ha="center",
                    va="center",
                    fontsize=size - 1,
                    color=colour,
                )
    bar = figure.colorbar(image, format=PercentFormatter(1), shrink=0.8, pad=0.02)
    bar.set_label("share of the true class", color=INK)
    bar.outline.set_visible(False)
    save_figure(figure, path, dpi=150)
