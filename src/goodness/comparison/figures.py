"""The pictures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from goodness.comparison.summary import Row
from goodness.methods import baseline
from goodness.reports.figure import INK, save_figure

BLACK, GREY = "#222222", "#c4c4c4"


def draw(rows: Sequence[Row], target: float | None, folder: Path) -> dict[str, Path]:
    """Accuracy, accuracy over time with the target, and accuracy over depth, PNGs in ``folder``."""
    trained = [row for row in rows if row.accuracies]
    if not trained:
        return {}
    colours = _colours(trained)
    figures = {
        "accuracy": _bars(trained, colours),
        "time": _over_time(trained, colours, target),
        "depth": _over_depth(trained, colours),
    }
    pictures = {name: folder / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        save_figure(figure, pictures[name], dpi=110)
    return pictures


def _colours(rows: Sequence[Row]) -> dict[str, Any]:
    """The best methods have one each, the others are grey; the baseline is black in every size."""
    palette = colormaps["tab10"]
    named = [row.method for row in rows if not row.baseline][:10]
    colours: dict[str, Any] = {row.method: BLACK if row.baseline else GREY for row in rows}
    return colours | {method: palette(place) for place, method in enumerate(named)}


def _style(row: Row, colours: dict[str, Any]) -> dict[str, Any]:
    """How a method's line is drawn; grey ones lie behind and have no name."""
    grey = colours[row.method] == GREY
    return {
        "color": colours[row.method],
        "linewidth": 2.5 if row.method == baseline() else 0.9 if grey else 1.4,
        "linestyle": "--" if row.baseline and row.method != baseline() else "-",
        "zorder": 1 if grey else 2,
        "label": None if grey else row.method,
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
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("test accuracy; | a seed, ◇ published (another network and schedule)")
    _tidy(axes)
    return figure


def _over_time(rows: Sequence[Row], colours: dict[str, Any], target: float | None) -> Figure:
    """Every seed's validation accuracy over its seconds, on a scale of ratios."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    if target is not None:
        axes.axhline(target, color=INK, linewidth=0.9, linestyle=":")
        axes.annotate(
            f"target {target:.1%}",
            (1, target),
            (-2, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=INK,
        )
    for row in rows:
        style = _style(row, colours)
        for history in row.histories:
            axes.plot(
                [epoch.seconds for epoch in history],
                [epoch.val.accuracy for epoch in history],
                marker=".",
                **style,
            )
            style["label"] = None  # one name for all seeds
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds of training and validation; a line per seed")
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
                **_style(row, colours),
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
