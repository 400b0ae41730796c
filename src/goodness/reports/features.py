"""A block's features in two dimensions, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from goodness.analysis.projection import Projection
from goodness.reports.figure import INK, short

MOST_LABELS = 20
"""Up to so many classes are named where their images lie."""


def features_figure(found: Projection, labels: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Images as points in the colour of their class; of few classes each mean bears the name.

    Args:
        found: of N images.
        labels: their classes (N,).
        classes: the K names.
    """
    count = len(classes)
    figure = Figure(figsize=(3.4, 3.4), layout="constrained")
    axes = figure.subplots()
    palette = "tab10" if count <= 10 else "tab20" if count <= 20 else "turbo"
    places = labels if count <= 20 else labels / max(count - 1, 1)
    colours = matplotlib.colormaps[palette](places)
    axes.scatter(found.points[:, 0], found.points[:, 1], c=colours, s=9, alpha=0.7, linewidths=0)
    if count <= MOST_LABELS:
        outline: dict[str, Any] = {"path_effects": [withStroke(linewidth=2.5, foreground="white")]}
        for k in np.unique(labels):
            x, y = found.points[labels == k].mean(0)
            name = short(classes[k], int(k), 12)
            axes.text(x, y, name, ha="center", va="center", fontsize=8, color=INK, **outline)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#bbbbbb")
    return figure
