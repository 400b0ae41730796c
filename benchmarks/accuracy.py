"""A method and backprop on one data set: same network, same seconds, rates searched alike.

    GOODNESS_DATA=... python benchmarks/accuracy.py mnist --epochs 12

1. Search: each method is trained with three learning rates (its default, and a factor of 3 below
   and above; up to two more where the best is at an end) for a fifteenth of the epochs each;
   validation accuracy chooses.
2. The method is trained for the epochs given, seed 0.
3. backprop is trained for as many epochs as fit in the seconds that the method took.

Every run is the printed ``goodness train`` command; trials never see the test set. Writes
``results/<data>.json``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

import goodness
from runs import search, train, write


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
    seconds = None
    for method in (args.method, "backprop"):
        words = [f"--method={method}", f"--data={args.data}", f"--num-threads={args.threads}"]
        centre = goodness.resolve({"method": method, "data": args.data}).optimizer["lr"]
        short = max(1, round(args.epochs / 15))
        lr, trials = search(words, centre, [f"--epochs={short}"])
        epochs = args.epochs
        if seconds is not None:
            epoch = statistics.median(trial["seconds"] / short for trial in trials)
            epochs = max(1, int(seconds / epoch))
        words += [f"--epochs={epochs}", f"--lr={lr}"]
        runs = [train([*words, f"--seed={seed}"]) for seed in range(args.seeds)]
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
        write(path, record)


if __name__ == "__main__":
    main()
