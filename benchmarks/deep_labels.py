"""Fourier or morphological labels in a deeper `ff-cnn` on CIFAR-10: do waves invite a shortcut?

    GOODNESS_DATA=... python benchmarks/deep_labels.py [--epochs 20] [--seeds 3]

The paper (arXiv 2312.14924) has morphological labels for CIFAR-10, since a network with Fourier
labels may look past the image. Both learn the same five convolutions here, for as long, from the
same seeds; both readouts answer: goodness over all ten labels, and a linear readout on the features
under a neutral label. Learning rates are searched alike, with a quarter of the epochs, on
validation by goodness. Beside the accuracy stands `labels.label_share`, the part of goodness that
the label decides alone.

Writes ``results/deep-labels.json`` after every run; started again, it goes on. Then it draws
``docs/deep-labels.png``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from goodness.reports.figure import INK, save_figure
from goodness.training.run_folder import RunFolder
from labels import COLOURS, WAYS, shares
from runs import search, train, write

METHODS = ("ff-cnn", "ff-cnn-morphology")
READOUTS = {"sum": "goodness of layers 2 to 5", "fusion": "linear readout"}
NETWORK = [
    "--data=cifar10",
    "--set=model={name: cnn, widths: [48,48,96,96,96], pools: [2,4], norm: none, kernel: 3}",
    "--set=lr_schedule=cosine",
    "--batch-size=50",
    "--amp=bf16",
]


def measure(path: Path, epochs: int, seeds: int, common: list[str]) -> dict[str, Any]:
    """Train what is missing."""
    record: dict[str, Any] = {"schema": 1, "methods": {}}
    if path.exists():
        record = json.loads(path.read_text())
    record["command"] = f"python benchmarks/deep_labels.py {shlex.join(sys.argv[1:])}".strip()
    for method in METHODS:
        words = [f"--method={method}", *NETWORK, *common]
        column = record["methods"].setdefault(method, {"runs": {}})
        if "lr" not in column:
            trial = [f"--epochs={-(-epochs // 4)}", "--readout=sum"]
            column["lr"], column["search"] = search(words, 1e-3, trial)
            write(path, record)
        words += [f"--lr={column['lr']}", f"--epochs={epochs}"]
        for seed in map(str, range(seeds)):
            if seed in column["runs"]:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "run"
                found = train([*words, f"--seed={seed}"], folder)
                found["label_share"] = shares(folder)
                found["val_by_epoch"] = [row.val.readouts for row in RunFolder(folder).history()]
            column["runs"][seed] = found
            write(path, record)
    return record


def draw(record: dict[str, Any], path: Path) -> None:
    """Validation accuracy over the epochs by each readout, and the share of the label."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    *curves, share = figure.subplots(1, len(READOUTS) + 1)
    for method in METHODS:
        runs, way = list(record["methods"][method]["runs"].values()), WAYS[method]
        for axes, (readout, title) in zip(curves, READOUTS.items(), strict=True):
            each = np.array([[row[readout] for row in run["val_by_epoch"]] for run in runs])
            passes = np.arange(each.shape[1]) + 1
            axes.plot(passes, 100 * each.mean(0), color=COLOURS[way], label=way)
            axes.fill_between(
                passes, 100 * each.min(0), 100 * each.max(0), color=COLOURS[way], alpha=0.2
            )
            axes.set_title(f"{title}: validation accuracy, %", color=INK, fontsize=10)
            axes.set_xlabel("passes over the images; band: all seeds")
        shown = np.array([run["label_share"] for run in runs])
        layers = np.arange(shown.shape[1]) + 1
        share.plot(layers, shown.mean(0), marker="o", color=COLOURS[way], label=way)
    share.set_title("variance of goodness due to the label alone", color=INK, fontsize=10)
    share.set_xlabel("layer")
    share.set_ylim(0, 1)
    for axes in (*curves, share):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path, dpi=110)


def main() -> None:
    """Train and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of an epoch, to try the script out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/deep-labels.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/deep-labels.png"))
    args = parser.parse_args()
    common = [f"--num-threads={args.threads}"]
    if args.steps:
        common.append(f"--set=steps_per_epoch={args.steps}")
    draw(measure(args.out, args.epochs, args.seeds, common), args.picture)


if __name__ == "__main__":
    main()
