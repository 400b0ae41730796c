"""Accuracy over mean FLOPs, and reliability before and after calibration: ``exits.png``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from goodness.reports.figure import INK, dress, plain, save_figure

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
    save_figure(exits_figure(found, title), path, dpi=120)


def exits_figure(found: Calibration, title: str = "") -> Figure:
    """Accuracy over FLOPs and reliability; the arguments are those of `draw_exits`."""
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
        dress_reliability(axes, f"reliability {name}, mean ECE {mean:.1%}")
        for own, colour in zip(exits, colours, strict=True):
            least = FEWEST / found.report.examples
            draw_reliability(axes, getattr(own, name), own.block, least, colour)
    after.legend(frameon=False, labelcolor=INK, fontsize=9, loc="upper left")
    half = f"{found.report.examples} validation images on which nothing was chosen"
    figure.suptitle(plain(f"{title}: {half}"), x=0.01, ha="left", color=INK, fontsize=12)
    return figure


def reliability_figure(found: Reliability, examples: int) -> Figure:
    """Accuracy over confidence of a network's answers, and how many answers each bin has.

    Args:
        found: of the answers.
        examples: how many there are.
    """
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    curve, bars = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    dress_reliability(curve, "")
    draw_reliability(curve, found, "", FEWEST / examples, CURVE)
    width = 1 / len(found.share)
    middles = [(place + 0.5) * width for place in range(len(found.share))]
    bars.bar(middles, found.share, width=0.9 * width, color=CURVE)
    dress(bars, "")
    curve.set_xlabel("")
    bars.set_xlabel("confidence", color=INK)
    bars.set_ylabel("share of answers", color=INK)
    bars.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _draw_price(axes: Axes, found: Calibration, colours: list[Any]) -> None:
    report = found.report
    full = max(report.flops_full, 1)
    dress(axes, "accuracy over mean FLOPs of an image")
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


def dress_reliability(axes: Axes, title: str) -> None:
    """Axes of accuracy over confidence, with the line on which both are equal."""
    dress(axes, title)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    axes.set_xlabel("confidence", color=INK)
    axes.set_ylabel("accuracy", color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def draw_reliability(axes: Axes, bins: Reliability, block: str, least: float, colour: Any) -> None:
    """The curve of one exit; bins with a smaller share than ``least`` are left out."""
    points = zip(bins.confidence, bins.accuracy, bins.share, strict=True)
    drawn = [(sure, right, share) for sure, right, share in points if share >= least]
    sure, right, share = zip(*drawn, strict=True) if drawn else ((), (), ())
    axes.plot(sure, right, color=colour, linewidth=1.2, label=plain(block))
    # The larger a bin, the larger its dot.
    axes.scatter(sure, right, s=[10 + 90 * own for own in share], color=[colour])
