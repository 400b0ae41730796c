"""Accuracy over the number of blocks that a network is cut into, from what backbones.py recorded.

    python benchmarks/cuts.py

Reads ``results/backbones-epochs.json`` and ``-imagenette.json`` and draws ``docs/cuts.png``.
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from goodness.reports.figure import INK, save_figure

RESULTS = Path("results")
NETWORKS = {
    "mobilenetv3_small_100": "MobileNetV3-small, CIFAR-10",
    "imagenette": "narrow ResNet18, Imagenette",
    "narrow resnet18": "narrow ResNet18, CIFAR-10",
}
COLOURS = ("#1b7837", "#762a83", "#2166ac")


def columns() -> tuple[dict[str, dict[int, float]], dict[str, float]]:
    """Test accuracy in % of every network: sff's by number of blocks, and backprop's."""
    found: dict[str, dict[int, float]] = {network: {} for network in NETWORKS}
    whole: dict[str, float] = {}
    for part in ("epochs", "imagenette"):
        record = json.loads((RESULTS / f"backbones-{part}.json").read_text())
        for name, column in record["columns"].items():
            network, _, method = name.rpartition(": ")
            accuracy = round(100 * column["test_accuracy"], 2)
            if method == "backprop":
                whole[network or part] = accuracy
            else:
                found[network or part][len(column["runs"][0]["blocks"])] = accuracy
    return found, whole


def draw(path: Path) -> None:
    """A line for each network."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    counts = {1}
    found, whole = columns()
    for (network, by_blocks), colour in zip(found.items(), COLOURS, strict=True):
        blocks = sorted(by_blocks)
        counts |= by_blocks.keys()
        accuracies = [by_blocks[count] for count in blocks]
        axes.plot(blocks, accuracies, "-o", color=colour, label=NETWORKS[network])
        axes.plot([1], [whole[network]], "o", color="white", markeredgecolor=colour)
        for count, accuracy in [*zip(blocks, accuracies, strict=True), (1, whole[network])]:
            axes.annotate(
                f"{accuracy:.1f}",
                (count, accuracy),
                (5, 4),
                textcoords="offset points",
                fontsize=8,
                color=colour,
            )
    axes.set_xscale("log")
    axes.set_xticks(sorted(counts), [f"{count}" for count in sorted(counts)])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("blocks, each with sff's loss; hollow: backprop", color=INK)
    axes.set_ylabel("test accuracy, %", color=INK)
    axes.grid(axis="y", color="#e5e5e5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path, dpi=110)


if __name__ == "__main__":
    draw(Path("docs") / "cuts.png")
