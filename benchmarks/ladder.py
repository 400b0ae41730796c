"""What closes the gap to backprop: parts added one at a time, each for all three ways of teaching.

    GOODNESS_DATA=... python benchmarks/ladder.py [--epochs N] [--per-class N] [--seeds N]
    python benchmarks/ladder.py --draw

Eight rungs of the frame are added for every column, then those of the heads for the columns that
have heads:

- *strict*: every convolution learns from its own head alone;
- *backprop*: end to end from a linear layer on the global average;
- *deep supervision*: end to end from the sum of all heads' losses.

The learning rate of every rung that changes the training is searched on validation with the first
seed, for each column, until the best lies inside the grid; the other two seeds take it. Nothing is
selected on, or even measured with, the test images. Beside the accuracy stands the effective rank
of what teaches each block (`goodness diagnose`). Writes ``results/ladder.json`` after every run, so
that it may be stopped and started again; with ``--draw`` ``docs/ladder.md`` and its picture.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from runs import best_trial, search, train, write

COLUMNS = ("strict", "backprop", "deep supervision")
HEADED = ("strict", "deep supervision")
PLAIN = {
    "model": "{name: cnn, widths: [24,24,48,48,96,96], pools: [1,3,5], norm: batch, pool: max,"
    " order: conv-norm-act, activation: relu, init: kaiming, whiten: null}",
    "optimizer": "{name: adamw, lr: 5e-3, weight_decay: 1e-2}",
    "lr_schedule": "{name: cosine, warmup: 0.1}",
    "label_smoothing": "0",
    "augment": "{crop: 2, padding: zeros, flip: true}",
    "readouts": "{last: {blocks: 1}}",
    "readout": "last",
    "batch_size": "250",
    "plan": "together",
    "amp": "bf16",
}
"""The frame that the first rung has in all columns."""


@dataclass(frozen=True)
class Rung:
    """A part.

    Args:
        name: in the table.
        values: what it adds, as ``--set key=value``.
        columns: the columns that it is for.
        trained: whether it changes the training; one that changes the answer alone takes the
            learning rate of the rung before.
    """

    name: str
    values: dict[str, str]
    columns: tuple[str, ...] = COLUMNS
    trained: bool = True


RUNGS = (
    Rung("AdamW, linear head on 4 x 4 cells", {"objective": "{name: classifier, pool: 4}"}),
    Rung("Muon on convolutions", {"optimizer": "{name: muon, lr: 0.1}"}),
    Rung("rate linear to 0", {"lr_schedule": "{name: linear, start: 0, every: step}"}),
    Rung("whitening first layer", {"model.whiten": "2"}),
    Rung(
        "conv, pool, norm, GELU", {"model.order": "conv-pool-norm-act", "model.activation": "gelu"}
    ),
    Rung("Dirac start", {"model.init": "dirac"}),
    Rung("label smoothing 0.1", {"label_smoothing": "0.1"}),
    Rung(
        "alternating flips, mirrored edges",
        {"augment": "{crop: 2, padding: reflect, flip: alternate}"},
    ),
    Rung("shortcuts around layers that keep the shape", {"model.shortcut": "equal"}),
    Rung(
        "head: 64, on 8 x 8 cells",
        {"objective": "{name: convolutional, grid: 8, widths: [64]}"},
        HEADED,
    ),
    Rung(
        "head: 128, on 4 x 4 cells",
        {"objective": "{name: convolutional, grid: 4, widths: [128]}"},
        HEADED,
    ),
    Rung("early blocks frozen first", {"plan": "{name: annealed, first: 0.7}"}, ("strict",)),
    # From here on without it: what it is for is time.
    Rung(
        "readout of the last two",
        {"readouts": "{last: {blocks: 2}}", "plan": "together"},
        HEADED,
        trained=False,
    ),
    Rung("flips at test", {"flip_test": "true"}, trained=False),
)
METHODS = {
    "strict": ("spectral-local", {}),
    "backprop": (
        "backprop",
        {
            "objective": "{name: classifier, pool: 1}",
            "plan": "end-to-end",
            "readouts.probe": "null",
        },
    ),
    "deep supervision": ("deep-supervision", {"plan": "deep-supervision"}),
}


def words_of(column: str, place: int) -> list[str]:
    """The options of a column with all parts up to a rung."""
    method, own = METHODS[column]
    values = dict(PLAIN)
    for rung in RUNGS[: place + 1]:
        if column in rung.columns:
            values |= rung.values
    # What a column is made of stays, whatever the parts say.
    values |= own
    return [f"--method={method}", *(f"--set={key}={value}" for key, value in values.items())]


class Ladder:
    """The record, and what is missing in it."""

    def __init__(self, path: Path, terms: dict[str, Any]) -> None:
        self.path = path
        self._lock = Lock()
        self.content: dict[str, Any] = {"schema": 1, "terms": terms, "rungs": {}}
        if path.exists():
            self.content = json.loads(path.read_text())
            if self.content["terms"] != terms:
                sys.exit(f"{path} was made with {self.content['terms']}; move it away first")

    def fill(self, place: int, column: str, common: list[str], seeds: int) -> None:
        """Train what a cell lacks: the search, then the other seeds."""
        rung = RUNGS[place]
        if column not in rung.columns:
            return
        with self._lock:
            cell = self.content["rungs"].setdefault(rung.name, {}).setdefault(column, {})
        words = [*words_of(column, place), *common]
        if not rung.trained:
            self._keep(cell, {"lr": self._rate_before(place, column), "runs": cell.get("runs", {})})
        elif "lr" not in cell:
            centre = 5e-3 if place == 0 else 0.1
            lr, trials = search([*words, "--seed=0"], centre)
            best = best_trial(trials)
            first = {"accuracy": best["val_accuracy"], "seconds": best["seconds"]}
            self._keep(cell, {"lr": lr, "trials": trials, "runs": {"0": first}})
        for seed in range(seeds):
            if str(seed) in cell["runs"]:
                continue
            found = train([*words, f"--lr={cell['lr']}", f"--seed={seed}"], diagnosed=True)
            kept = {
                "command": found["command"],
                "accuracy": found["val"]["accuracy"],
                "seconds": found["train"]["seconds"],
                "per_block": found["val"]["per_block"],
                "signal_rank": [block["signal_rank"] for block in found["diagnosis"]],
            }
            self.content["environment"] = found["environment"]
            self._keep(cell, {"runs": {**cell["runs"], str(seed): kept}})
            print(f"{rung.name}, {column}, seed {seed}: {kept['accuracy']:.4f}", flush=True)

    def _rate_before(self, place: int, column: str) -> float:
        """What the search of a column chose last."""
        rungs = [self.content["rungs"][rung.name] for rung in reversed(RUNGS[:place])]
        rate: float = next(cells[column]["lr"] for cells in rungs if column in cells)
        return rate

    def _keep(self, cell: dict[str, Any], more: dict[str, Any]) -> None:
        with self._lock:
            cell.update(more)
            write(self.path, self.content)


def draw(content: dict[str, Any], path: Path) -> None:
    """Accuracy over the rungs, a line per column with the deviation between seeds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    names = [rung.name for rung in RUNGS if rung.name in content["rungs"]]
    colours = dict(zip(COLUMNS, ("#1f77b4", "#222222", "#999999"), strict=True))
    for column in COLUMNS:
        places, means, deviations = [], [], []
        for place, name in enumerate(names):
            runs = content["rungs"][name].get(column, {}).get("runs", {}).values()
            if accuracies := [run["accuracy"] for run in runs]:
                places.append(place)
                means.append(statistics.mean(accuracies))
                deviations.append(statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0)
        axes.errorbar(
            places, means, deviations, marker="o", capsize=3, label=column, color=colours[column]
        )
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=9)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("validation accuracy, ± deviation")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


HEAD = """# What closes the gap to backprop

Parts are added one at a time, each for all that it is for: six convolutions (24, 24, 48, 48, 96, 96
channels) that each learn from their own head alone (*strict*), the same network end to end
(*backprop*), and end to end from the sum of all heads' losses (*deep supervision*). {terms}
Validation accuracy in %, mean ± standard deviation of three seeds; the learning rate of every cell
is searched until the best lies inside. *Gap*: backprop less strict. *Narrows*: by how much the gap
is smaller than in the row before, bold where that is more than two standard deviations of the
difference. *Rank*: the effective rank of what teaches the first / the last block, of strict and of
backprop (`goodness diagnose`).

![accuracy over the rungs](ladder.png)

| part added | strict | backprop | deep supervision | gap | narrows | rank, strict | backprop |
|---|---|---|---|---|---|---|---|
"""
TAIL = """
The record, with every command: [ladder.json](../results/ladder.json). `python benchmarks/ladder.py`
makes it again, `--draw` this page.
"""


def page(content: dict[str, Any]) -> str:
    """The table, with what each part does to the gap."""
    terms = content["terms"]
    said = (
        f"{terms['per_class']:,} images of each class of {terms['data']}, {terms['epochs']} epochs,"
        " in bfloat16 on one CPU core."
    )
    rows, before = [], None
    last: dict[str, list[float]] = {}
    """Of columns that a part is not for, those of the row before."""
    for name, cells in content["rungs"].items():
        shown = {}
        for column in COLUMNS:
            runs = cells.get(column, {}).get("runs", {}).values()
            if accuracies := [100 * run["accuracy"] for run in runs]:
                last[column] = accuracies
                shown[column] = _mean(accuracies)
        gap = statistics.mean(last["backprop"]) - statistics.mean(last["strict"])
        spread = sum(
            statistics.variance(last[column]) / len(last[column])
            for column in ("strict", "backprop")
            if len(last[column]) > 1
        )
        narrows = ""
        if before is not None:
            narrows = f"{before[0] - gap:+.2f}"
            if before[0] - gap > 2 * (before[1] + spread) ** 0.5:
                narrows = f"**{narrows}**"
        before = gap, spread
        ranks = [_ranks(cells.get(column, {})) for column in ("strict", "backprop")]
        row = [name, *(shown.get(column, "") for column in COLUMNS), f"{gap:.2f}", narrows, *ranks]
        rows.append(f"| {' | '.join(row)} |")
    return HEAD.format(terms=said) + "\n".join(rows) + "\n" + TAIL


def _mean(accuracies: list[float]) -> str:
    mean = f"{statistics.mean(accuracies):.2f}"
    return mean + (f" ± {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else "")


def _ranks(cell: dict[str, Any]) -> str:
    """Of the first and of the last block, of the last run that was looked at."""
    seen = [run["signal_rank"] for run in cell.get("runs", {}).values() if "signal_rank" in run]
    if not seen:
        return ""
    return " / ".join(
        "–" if rank is None else f"{rank:.0f}" for rank in (seen[-1][0], seen[-1][-1])
    )


def main() -> None:
    """Go on with the ladder, or draw it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--per-class", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, with a thread each")
    parser.add_argument("--rungs", type=int, default=len(RUNGS), help="the first so many")
    parser.add_argument("--out", type=Path, default=Path("results/ladder.json"))
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    if args.draw:
        content = json.loads(args.out.read_text())
        draw(content, Path("docs/ladder.png"))
        Path("docs/ladder.md").write_text(page(content))
        return
    terms = {"data": args.data, "epochs": args.epochs, "per_class": args.per_class}
    ladder = Ladder(args.out, terms)
    common = [
        *(f"--data={args.data}", f"--epochs={args.epochs}", f"--per-class={args.per_class}"),
        *("--num-threads=1", "--set=final_test=false", "--quiet"),
    ]
    places = range(args.rungs)
    # Rates are searched first: the rungs that change the answer alone take them.
    for trained in (True, False):
        with ThreadPoolExecutor(args.jobs) as pool:
            jobs = [
                pool.submit(ladder.fill, place, column, common, args.seeds)
                for place in places
                for column in COLUMNS
                if RUNGS[place].trained is trained
            ]
            for job in jobs:
                job.result()


if __name__ == "__main__":
    main()
