"""The label in the corner, as waves over the image, or as a transform of it: `ff-cnn` with each.

    GOODNESS_DATA=... python benchmarks/labels.py

The same small network learns MNIST and CIFAR-10 with each way to write the label. Goodness over all
ten labels answers, and beside it a linear readout on the features under a neutral label. A network
with a shortcut past the image has a favourite label whatever the image is: of the variance of an
image's ten goodnesses, the share that the mean over images accounts for is recorded (0: the image
decides alone; 1: the label does).

Writes ``results/labels.json``, where finished runs are left alone, and ``docs/labels.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import goodness
from goodness.data import open_data
from goodness.presentation import PRESENTATIONS
from goodness.reports.figure import INK, save_figure
from runs import train, write

DATA = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
WAYS = {"ff-cnn-corner": "corner", "ff-cnn": "Fourier", "ff-cnn-morphology": "morphology"}
NETWORK = ["--set=model.widths=[32,32,32]", "--set=model.pools=[1,2]"]
RATES = ["--lr=1e-3", "--set=lr_schedule=cosine", "--batch-size=50"]
ASKED = 2000
COLOURS = {"corner": "#999999", "Fourier": "#3b6fb6", "morphology": "#d1772f"}
SHOWN = (0, 3, 7)


def label_share(scores: Tensor) -> float:
    """Of the variance within rows of goodness (N, K), what the columns' means account for."""
    centred = scores.double() - scores.double().mean(1, keepdim=True)
    return float(centred.mean(0).square().mean() / centred.square().mean())


def shares(folder: Path) -> list[float]:
    """`label_share` of every block on the first test images."""
    run = goodness.load(folder)
    data = open_data(run.config.data)
    asked: list[list[Tensor]] = []
    with torch.no_grad():
        for pixels, _ in data.test.batches(100, run.network.device, order=torch.arange(ASKED)):
            images = run.preprocessing.apply(pixels)
            asked.append([s for s in run.network.evaluate(images).blocks if s is not None])
    return [label_share(torch.cat(blocks)) for blocks in zip(*asked, strict=True)]


def measure(path: Path, common: list[str]) -> dict[str, Any]:
    """Train what is missing."""
    record: dict[str, Any] = {"schema": 1, "runs": {}}
    if path.exists():
        record = json.loads(path.read_text())
    record["command"] = f"python benchmarks/labels.py {shlex.join(sys.argv[1:])}".strip()
    for data in DATA:
        for method in WAYS:
            if f"{data}: {method}" in record["runs"]:
                continue
            words = [f"--method={method}", f"--data={data}", *NETWORK, *RATES, *common]
            with tempfile.TemporaryDirectory() as scratch:
                result = train(words, Path(scratch) / "run")
                result["label_share"] = shares(Path(scratch) / "run")
            record["runs"][f"{data}: {method}"] = result
            write(path, record)
    return record


def draw(record: dict[str, Any], path: Path) -> None:
    """Labelled images, accuracies and shares; a row per data set."""
    figure = Figure(figsize=(14, 3.6 * len(DATA)), layout="constrained")
    rows = figure.subfigures(len(DATA), 1)
    for row, (data, title) in zip(rows, DATA.items(), strict=True):
        pictures, charts = row.subfigures(1, 2, width_ratios=(1, 2.4))
        examples(pictures, data)
        accuracy, share = charts.subplots(1, 2, width_ratios=(1.6, 1))
        for place, (method, way) in enumerate(WAYS.items()):
            run = record["runs"][f"{data}: {method}"]
            test = run["test"]
            values = [*test["per_block"], test["readouts"]["sum"], test["readouts"]["fusion"]]
            where = [x + 0.27 * (place - 1) for x in range(len(values))]
            bars = accuracy.bar(where, values, 0.25, color=COLOURS[way], label=way)
            accuracy.bar_label(bars, [f"{100 * v:.0f}" for v in values], fontsize=8, color=INK)
            where = [x + 0.27 * (place - 1) for x in range(len(run["label_share"]))]
            share.bar(where, run["label_share"], 0.25, color=COLOURS[way])
        layers = [f"layer {i + 1}" for i in range(len(run["label_share"]))]
        accuracy.set_xticks(range(len(values)), [*layers, "layers 2, 3", "linear\nreadout"])
        accuracy.set_ylim(0, 1.1)
        accuracy.set_yticks([0, 0.5, 1], ["0", "50", "100"])
        accuracy.axhline(0.1, color=INK, linewidth=0.8, linestyle=":")
        accuracy.set_title(f"{title}: test accuracy by goodness, %", color=INK, fontsize=10)
        accuracy.legend(frameon=False, fontsize=8, loc="upper left")
        share.set_xticks(range(len(layers)), layers)
        share.set_ylim(0, 1)
        share.set_title("variance of goodness due to the label alone", color=INK, fontsize=10)
        for axes in (accuracy, share):
            axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, dpi=110)


def examples(part: Any, data: str) -> None:
    """One image with three labels, written in each way."""
    dataset = open_data(data)
    pixels, _ = next(dataset.test.batches(1, "cpu", order=torch.tensor([1])))
    image = dataset.preprocessing.scaled(pixels)
    axes = part.subplots(len(WAYS), len(SHOWN))
    for line, (method, way) in zip(axes, WAYS.items(), strict=True):
        made = PRESENTATIONS.make(
            goodness.resolve({"method": method}).presentation, tuple(image.shape[1:]), 10
        )
        for axis, label in zip(line, SHOWN, strict=True):
            written = made.write(image, torch.tensor([label]))[0].clamp(0, 1)
            axis.imshow(written.permute(1, 2, 0).squeeze(2), cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(way, color=INK, fontsize=8)
    for axis, label in zip(axes[0], SHOWN, strict=True):
        axis.set_title(f"label {label}", color=INK, fontsize=8)


def main() -> None:
    """Train and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, help="of an epoch, to try the script out")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("results/labels.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/labels.png"))
    args = parser.parse_args()
    common = [f"--epochs={args.epochs}", f"--num-threads={args.threads}"]
    if args.steps:
        common.append(f"--set=steps_per_epoch={args.steps}")
    draw(measure(args.out, common), args.picture)


if __name__ == "__main__":
    main()
