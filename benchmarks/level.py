"""A layer-local method beside backprop: same recipe, same seconds, rates searched alike.

    GOODNESS_DATA=... python benchmarks/level.py mnist cifar10

Each row is one ``goodness compare``, which is printed and may be stopped and started again; a
training has one thread, and two go side by side (``--jobs``). Writes
``results/level-<row>.json``, the comparison's ``report.json``; README.md's table is made from them
(``make readme``). A row that has its file is left alone.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

from runs import FRAME, write

ROWS: dict[str, list[str]] = {
    "cifar10-120s": [
        *("spectral-local", "--data=cifar10", "--budget=120", "--seeds=3", "--trial-share=1"),
        *(*FRAME, "--batch-size=250"),
    ],
    "digits": [
        *("spectral-local", "asge-fast", "--data=digits", "--budget=15", "--seeds=5"),
        *("--trial-share=1", *FRAME, "--batch-size=64", "--set=model.widths=[32,64,128,128]"),
    ],
    "mnist": ["spectral-local", "--recipe=mnist-fast", "--budget=240", "--seeds=3"],
    "fashion_mnist": ["spectral-local", "--recipe=fashion_mnist-fast", "--budget=480", "--seeds=3"],
    "cifar10": ["spectral-local", "--recipe=cifar10-fast", "--budget=960", "--seeds=3"],
    "cifar100": ["spectral-local", "--recipe=cifar100-fast", "--budget=1800", "--seeds=1"],
    "imagenette": ["spectral-local", "--recipe=imagenette-fast", "--budget=1800", "--seeds=1"],
    "cifar10-vgg11": [
        *("spectral-local", "--recipe=cifar10-fast", "--budget=1350", "--seeds=1"),
        "--model=vgg11",
    ],
}
"""What is compared; a row without a ``--trial-share`` has trials of a third of a run."""


def main() -> None:
    """Make the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], default=list(ROWS))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where trainings are kept")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side")
    args = parser.parse_args()
    for row in args.rows:
        record = Path("results") / f"level-{row}.json"
        if record.exists():
            continue
        words = ["compare", *ROWS[row], "--num-threads=1", f"--jobs={args.jobs}"]
        if not any(word.startswith("--trial-share") for word in words):
            words.append("--trial-share=0.34")
        print(shlex.join(["goodness", *words]), file=sys.stderr, flush=True)
        folder = args.runs / f"level-{row}"
        subprocess.run([sys.executable, "-m", "goodness", *words, f"--out={folder}"], check=True)
        write(record, json.loads((folder / "report.json").read_text()))


if __name__ == "__main__":
    main()
