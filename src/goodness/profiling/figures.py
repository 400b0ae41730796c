"""The pictures of a bench and of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from goodness.profiling.bench import ACCUMULATION, BACKPROP, CHECKPOINTING
from goodness.profiling.timing import PHASES
from goodness.reports.figure import INK, save_figure

MIB = 2**20
BASELINES = {
    BACKPROP: "#222222",
    CHECKPOINTING: "#777777",
    ACCUMULATION: "#bbbbbb",
}


def draw_bench(record: Mapping[str, Any], path: Path) -> None:
    """Speed against memory, and memory over depth and time steps where it was measured."""
    colours = _colours(record["ways"])
    sweeps = [
        (title, key, rows)
        for title, key, name in (("layers", "depth", "depths"), ("time steps", *["time_steps"] * 2))
        if (rows := record.get(name))  # older records have fewer
    ]
    panels = 1 + len(sweeps)
    figure = Figure(figsize=(6.4 * panels, 4.6), layout="constrained")
    first, *others = figure.subplots(1, panels, squeeze=False)[0]
    _pareto(first, record, colours)
    for axes, (title, key, rows) in zip(others, sweeps, strict=True):
        _over(axes, rows, key, title, colours)
    save_figure(figure, path, dpi=110)


def _colours(ways: Mapping[str, Any]) -> dict[str, Any]:
    palette = colormaps["tab10"]
    local = [name for name in ways if name not in BASELINES]
    return {**BASELINES, **{name: palette(place % 10) for place, name in enumerate(local)}}


def _plain_numbers(axis: Axis) -> None:
    """1, 2, 5, 10, ... instead of powers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _pareto(axes: Axes, record: Mapping[str, Any], colours: Mapping[str, Any]) -> None:
    for name, way in record["ways"].items():
        mib = way["memory"]["activations"] / MIB
        axes.plot(mib, way["images_per_second"], "o", color=colours[name], markersize=9, label=name)
        sweep = [
            (row["ways"][name]["activations"] / MIB, row["ways"][name]["images_per_second"])
            for row in record["batches"]
            if name in row["ways"]
        ]
        if sweep:
            axes.plot(*zip(*sweep, strict=True), ".-", color=colours[name], alpha=0.6, linewidth=1)
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("peak activations of a step, MiB")
    axes.set_ylabel("images per second")
    batches = "" if not record["batches"] else "; lines: other batch sizes"
    axes.set_title(f"Speed against memory, batch {record['batch']}{batches}", color=INK)
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)


def _over(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    key: str,
    title: str,
    colours: Mapping[str, Any],
) -> None:
    places = [row[key] for row in rows]
    for name in rows[0]["activations"]:
        mib = [row["activations"][name] / MIB for row in rows]
        axes.plot(places, mib, "o-", color=colours[name], label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    _plain_numbers(axes.yaxis)
    axes.set_xticks(places, [str(place) for place in places])
    axes.set_xlabel(title)
    axes.set_ylabel("peak activations of a step, MiB")
    axes.set_title(f"Memory over {title}", color=INK)
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)


def draw_profile(record: Mapping[str, Any], path: Path) -> None:
    """Time by phase and activations, block by block."""
    blocks = record["blocks"]
    names = [block["name"] for block in blocks]
    figure = Figure(figsize=(9, 1.8 + 0.34 * len(blocks)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    start = [0.0] * len(blocks)
    palette = colormaps["tab10"]
    for place, phase in enumerate(PHASES):
        widths = [1e3 * block["seconds"][phase] for block in blocks]
        left.barh(names, widths, left=start, color=palette(place), label=phase, height=0.7)
        start = [before + width for before, width in zip(start, widths, strict=True)]
    needed = [1e3 * sum(block["convolution_seconds"].values()) for block in blocks]
    left.plot(needed, names, "|", color=INK, markersize=14, label="its convolutions alone")
    left.invert_yaxis()
    left.set_xlabel("ms a step")
    figure.legend(frameon=False, loc="outside lower center", ncols=len(PHASES) + 1)
    left.set_title(
        f"{record['method']}: {record['batch'] / record['step_seconds']:,.0f} images/s,"
        f" {record['share_of_bound']:.0%} of the time is convolutions",
        color=INK,
    )
    right.barh(names, [block["activations"] / MIB for block in blocks], color="#999999", height=0.7)
    right.set_xlabel("activations while it learns, MiB")
    save_figure(figure, path, dpi=110)
