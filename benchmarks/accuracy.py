"""A method and backprop on one data set: same network, same seconds, rates searched alike.

    GOODNESS_DATA=... python benchmarks/accuracy.py mnist --epochs 12

1. Search: each method is trained with three learning rates (its default, and a factor of 3 below
   and above) for a fifteenth of the epochs each, a fifth in all; validation accuracy chooses.
2. The method is trained for the epochs given, seed 0.
3. backprop is trained for as many epochs as fit in the seconds that the method took.

Every run is the printed ``goodness train`` command; trials never see the test set. Writes
``results/<data>.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import goodness

FACTORS = (1 / 3, 1, 3)


def train(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Run one command; its record."""
    words = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    command = ["goodness", "train", *words]
    print(shlex.join(command), file=sys.stderr, flush=True)
    python = [sys.executable, "-m", "goodness", "train", *words, f"--out={folder}", "--overwrite"]
    subprocess.run(python, check=True, stdout=subprocess.DEVNULL)
    environment = json.loads((folder / "environment.json").read_text())
    del environment["command"]  # it names this run's scratch folder
    return {
        "command": shlex.join(command),
        "environment": environment,
        **json.loads((folder / "result.json").read_text()),
    }


def search(folder: Path, options: dict[str, Any]) -> tuple[float, list[dict[str, Any]], float]:
    """The rate with the best validation accuracy, all trials, and the seconds per epoch."""
    config = goodness.resolve({"method": options["method"], "data": options["data"]})
    default = config.optimizer["lr"]
    epochs = max(1, round(options["epochs"] / 15))
    trials = []
    for factor in FACTORS:
        lr = float(f"{default * factor:.2g}")
        record = train(folder, {**options, "epochs": epochs, "lr": lr, "set": "final_test=false"})
        trials.append(
            {
                "lr": lr,
                "command": record["command"],
                "val_accuracy": record["val"]["accuracy"],
                "seconds_per_epoch": record["train"]["seconds"] / epochs,
            }
        )
        print(f"  val {record['val']['accuracy']:.4f}", file=sys.stderr, flush=True)
    best = max(trials, key=lambda trial: trial["val_accuracy"])
    return best["lr"], trials, statistics.median(trial["seconds_per_epoch"] for trial in trials)


def main() -> None:
    """Search, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--method", default="asge-fast")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", default="results")
    args = parser.parse_args()
    record: dict[str, Any] = {
        "schema": 1,
        "command": f"python benchmarks/accuracy.py {shlex.join(sys.argv[1:])}",
        "data": args.data,
        "load_average_at_start": os.getloadavg()[0],
        "methods": {},
    }
    path = Path(args.out) / f"{args.data}.json"
    path.parent.mkdir(exist_ok=True)
    seconds = None
    with tempfile.TemporaryDirectory() as scratch:
        for method in (args.method, "backprop"):
            folder = Path(scratch) / "run"
            options = {
                "method": method,
                "data": args.data,
                "epochs": args.epochs,
                "threads": args.threads,
            }
            lr, trials, epoch_seconds = search(folder, options)
            if seconds is not None:
                options["epochs"] = max(1, int(seconds / epoch_seconds))
            runs = [
                train(folder, {**options, "lr": lr, "seed": seed}) for seed in range(args.seeds)
            ]
            seconds = seconds or sum(run["train"]["seconds"] for run in runs) / len(runs)
            accuracies = [run["test"]["accuracy"] for run in runs]
            record["methods"][method] = {
                "lr": lr,
                "search": trials,
                "test_accuracy": sum(accuracies) / len(accuracies),
                "test_accuracies": accuracies,
                "runs": runs,
            }
            print(f"{method}: test {accuracies}", file=sys.stderr, flush=True)
            path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
