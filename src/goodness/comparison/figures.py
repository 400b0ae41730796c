"""The pictures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from goodness.comparison.summary import Row
from goodness.reports.figure import INK, save_figure

BASELINE = "#222222"


def draw(rows: Sequence[Row], folder: Path) -> dict[str, Path]:
    """Accuracy, accuracy over time, and accuracy over depth, each a PNG in ``folder``."""
    trained = [row for row in rows if row.accuracies]
    if not trained:
        return {}
    colours = _colours(trained)
    pictures = {}
    for name, draw_one in (("accuracy", _bars), ("time", _over_time), ("depth", _over_depth)):
        figure = draw_one(trained, colours)
        pictures[name] = folder / f"{name}.png"
        save_figure(figure, pictures[name], dpi=110)
    return pictures


def _colours(rows: Sequence[Row]) -> dict[str, Any]:
    """One per method; the baseline is black in every picture."""
    palette = colormaps["tab20"]
    return {
        row.method: BASELINE if row.method == "backprop" else palette(place % 20)
        for place, row in enumerate(rows)
    }


def _bars(rows: Sequence[Row], colours: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 0.9 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        assert row.mean is not None
        axes.plot(row.accuracies, [place] * len(row.accuracies), "|", color=INK, markersize=9)
        axes.barh(place, row.mean, color=colours[row.method], alpha=0.75, height=0.7)
        axes.text(0.005, place, f"{row.mean:.2%}", va="center", fontsize=8, color="white")
        if row.published is not None:
            axes.plot(row.published / 100, place, "D", color=INK, markersize=5, mfc="white")
    axes.set_yticks(range(len(rows)), [row.method for row in rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("test accuracy; | a seed, ◇ published (another network and schedule)")
    _tidy(axes)
    return figure


def _over_time(rows: Sequence[Row], colours: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        for seed, history in enumerate(row.histories):
            axes.plot(
                [epoch["seconds"] for epoch in history],
                [epoch["val"]["accuracy"] for epoch in history],
                marker=".",
                linewidth=2.5 if row.method == "backprop" else 1.3,
                color=colours[row.method],
                label=row.method if seed == 0 else None,
            )
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("validation accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _legend(figure, axes)
    return figure


def _over_depth(rows: Sequence[Row], colours: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        first = row.per_block[0]
        places = [i for i, accuracy in enumerate(first) if accuracy is not None]
        if places:
            axes.plot(
                [i + 1 for i in places],
                [first[i] or 0.0 for i in places],
                marker="o",
                markersize=4,
                linewidth=2.5 if row.method == "backprop" else 1.3,
                color=colours[row.method],
                label=row.method,
            )
    axes.set_xlabel("block")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("the block's own test accuracy, seed 0")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _legend(figure, axes)
    return figure


def _legend(figure: Figure, axes: Any) -> None:
    _tidy(axes)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
