"""A method in its own setting, that of its paper as far as it is known, in pieces.

    GOODNESS_DATA=... python benchmarks/paper.py asge mnist cifar10 cifar100 --minutes 9
    GOODNESS_DATA=... python benchmarks/paper.py cwc cifar10

Nothing is searched and nothing is changed: ``goodness train --method METHOD --data DATA``. Each
data set has a run folder below ``--out``; a run that is there is resumed, a finished one is
skipped. After ``--minutes`` the current run is asked to save itself and end; call again with the
same words to go on. Finished runs are copied to ``results/paper-<method>-<data>.json``, from which
the pages of docs/methods tell what is reproduced. ``--epochs`` tries the script out small.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from runs import advance, record, write


def main() -> None:
    """Advance every run in turn until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("method")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/paper"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    for data in args.data:
        folder = args.out / f"{args.method}-{data}"
        words = [f"--method={args.method}", f"--data={data}"]
        if args.epochs:
            words.append(f"--epochs={args.epochs}")
        if not advance(folder, words, deadline):
            return
        found = record(folder, " ".join(["goodness", "train", *words]))
        write(args.results / f"paper-{args.method}-{data}.json", {"schema": 1, **found})
        print(f"{data}: {found['test']['accuracy']:.4f}", file=sys.stderr)


if __name__ == "__main__":
    main()
