"""A method and backprop on one data set: same network, same seconds, rates searched alike.

    GOODNESS_DATA=... python benchmarks/accuracy.py mnist --epochs 12

1. Search: each method is trained with three learning rates (its default, and a factor of 3 below
   and above; more while the best is at an end) for a fifteenth of the epochs each; validation
   accuracy chooses the rate, and of readouts that learn all but the one that answered are left out.
2. The method is trained for the epochs given, seed 0.
3. backprop is trained for the seconds that the method took: for as many epochs of as many steps as
   its trials tell. Its linear probes, which answer nothing, are left out.

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
from goodness.comparison.protocol import answering, probes
from runs import best_trial, left_out, search, train, write


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
    images = len(goodness.open_data(args.data).train)
    seconds = None
    for method in (args.method, "backprop"):
        values = {"method": method, "data": args.data}
        idle = probes(goodness.resolve(values), {})
        config = goodness.resolve({**values, **idle})
        words = [f"--method={method}", f"--data={args.data}", f"--num-threads={args.threads}"]
        words += left_out(idle)
        short = max(1, round(args.epochs / 15))
        lr, trials = search(words, config.optimizer["lr"], [f"--epochs={short}"])
        words += [f"--lr={lr}", *left_out(answering(config, best_trial(trials)["readout"]))]
        if seconds is None:
            words.append(f"--epochs={args.epochs}")
        else:
            taken = [trial["seconds"] / short for trial in trials if "seconds" in trial]
            passes = seconds / statistics.median(taken)
            epochs = max(1, round(passes))
            # Not a whole number of passes: the seconds are what is equal.
            steps = max(1, round(passes / epochs * (images // config.batch_size)))
            words += [f"--epochs={epochs}", f"--set=steps_per_epoch={steps}"]
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
