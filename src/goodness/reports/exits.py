"""``exits.png``: accuracy over mean FLOPs, and reliability before and after calibration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from goodness.reports.figure import INK, plain, save_figure

if TYPE_CHECKING:
    from goodness.exits.records import Calibration, Reliability

CURVE, CHOSEN = "#c8553d", "black"
TEXT: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
FEWEST = 5
"""Bins with fewer images are not drawn: their accuracy says little."""


def draw_exits(found: Calibration, path: Path, title: str = "") -> None:
    """Draw a calibration as a PNG.

    Args:
        found: measured on the half of validation that nothing was chosen on.
        path: the file to write.
        title: above the picture.
    """
    figure = Figure(figsize=(14, 4.4), layout="constrained")
    price, before, after = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    exits = found.report.exits
    shades = matplotlib.colormaps["viridis"]
    # As in curves.png: the darker the colour, the nearer a block is to the image.
    colours = [shades(0.9 * place / max(len(exits) - 1, 1)) for place in range(len(exits))]
    _draw_price(price, found, colours)
    for axes, name in ((before, "before"), (after, "after")):
        errors = [own.ece_before if name == "before" else own.ece_after for own in exits]
        mean = sum(errors) / len(errors)
        _dress(axes, f"reliability {name}, mean ECE {mean:.1%}")
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
        for own, colour in zip(exits, colours, strict=True):
            least = FEWEST / found.report.examples
            _draw_reliability(axes, getattr(own, name), own.block, least, colour)
        axes.set_xlabel("confidence", color=INK)
        axes.set_ylabel("accuracy", color=INK)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
    after.legend(frameon=False, labelcolor=INK, fontsize=9, loc="upper left")
    half = f"{found.report.examples} validation images on which nothing was chosen"
    figure.suptitle(plain(f"{title}: {half}"), x=0.01, ha="left", color=INK, fontsize=12)
    save_figure(figure, path, dpi=120)


def _draw_price(axes: Axes, found: Calibration, colours: list[Any]) -> None:
    report = found.report
    full = max(report.flops_full, 1)
    _dress(axes, "accuracy over mean FLOPs of an image")
    shown = sorted(found.margins, key=lambda own: own.flops)
    for place, own in enumerate(report.exits):
        name = plain(own.block)
        label = "all images leave behind one block" if not place else None
        point = (own.flops / full, own.accuracy)
        axes.scatter(*point, color=[colours[place]], s=34, label=label, zorder=3)
        axes.annotate(name, point, (0, 7 if place % 2 else -13), **TEXT, color=colours[place])
    axes.plot(
        [own.flops / full for own in shown],
        [own.accuracy for own in shown],
        color=CURVE,
        marker=".",
        label="exits by class precision, a margin each",
    )
    if found.margin is not None:
        label = f"chosen: margin {found.margin:g}, {report.saved:.0%} saved"
        point = (report.flops / full, report.accuracy)
        axes.scatter(*point, facecolors="none", edgecolors=CHOSEN, s=110, label=label, zorder=4)
    line: dict[str, Any] = {"color": INK, "linestyle": ":", "linewidth": 1}
    axes.axhline(report.accuracy_full, label=f"no exits: {report.accuracy_full:.2%}", **line)
    # The first blocks may be far below: what is chosen from stays readable.
    accuracies = [*(own.accuracy for own in shown), report.accuracy_full]
    spread = max(max(accuracies) - min(accuracies), 0.01)
    axes.set_ylim(min(accuracies) - 2 * spread, max(accuracies) + 0.5 * spread)
    axes.set_xlim(left=0)
    axes.set_xlabel("FLOPs, part of the whole network's", color=INK)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="lower right")


def _draw_reliability(axes: Axes, bins: Reliability, block: str, least: float, colour: Any) -> None:
    points = zip(bins.confidence, bins.accuracy, bins.share, strict=True)
    drawn = [(sure, right, share) for sure, right, share in points if share >= least]
    sure, right, share = zip(*drawn, strict=True) if drawn else ((), (), ())
    axes.plot(sure, right, color=colour, linewidth=1.2, label=plain(block))
    # The larger a bin, the larger its dot.
    axes.scatter(sure, right, s=[10 + 90 * own for own in share], color=[colour])


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    axes.tick_params(colors=INK, length=3)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
