"""Early exits of the fast recipes: FLOPs saved, and the accuracy that they cost on the test images.

    GOODNESS_DATA=... python benchmarks/exits.py
    GOODNESS_DATA=... python benchmarks/exits.py mnist=runs/mine cifar10

A name trains its ``-fast`` recipe below ``--runs``, or takes the run that is there already;
``NAME=RUN`` takes a run of your own. Each is calibrated on validation, with the loss of accuracy
that is aimed at as tolerance, and tested once. Writes ``results/exits.json`` after each, and of
`SHOWN` ``docs/exits.png``. ``--steps`` tries the script out small.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

import goodness
from goodness.reports.environment import environment
from goodness.reports.exits import draw_exits
from goodness.training.run_folder import RunFolder
from runs import record, train, write

AIMS = {"mnist": (0.4, 0.002), "fashion_mnist": (0.4, 0.002), "cifar10": (0.3, 0.005)}
"""The part of the FLOPs to save, and the loss of test accuracy that may cost."""
SHOWN = "fashion_mnist"


def trained(data: str, folder: Path, steps: int | None, extra: list[str]) -> dict[str, Any]:
    """The record of a run of the recipe, which is made if it is not there."""
    words = [f"--recipe={data}-fast", *extra]
    if steps is not None:
        words += ["--epochs=1", f"--steps-per-epoch={steps}", "--set=final_test=false"]
    if RunFolder(folder).result_file.exists():
        return record(folder, shlex.join(["goodness", "train", *words]))
    return train(words, folder)


def measured(folder: Path, data: str, tolerance: float) -> dict[str, Any]:
    """Exits chosen on validation, and what they do on the test images."""
    run = goodness.load(folder)
    found = run.calibrate(tolerance=tolerance)
    tested = run.evaluate_exits()
    lost = tested.accuracy_full - tested.accuracy
    print(f"{data}: {tested.saved:.1%} saved, {100 * lost:.2f} points lost", file=sys.stderr)
    return {
        "saved": tested.saved,
        "points_lost": 100 * lost,
        "validation": found.model_dump(mode="json", by_alias=True),
        "test": tested.model_dump(mode="json"),
    }


def main() -> None:
    """Train, calibrate and test one data set after the other."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="*", default=list(AIMS), metavar="NAME[=RUN]")
    parser.add_argument("--runs", type=Path, default=Path("runs/exits"))
    parser.add_argument("--steps", type=int, help="train for so many steps only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    content: dict[str, Any] = {
        "schema": 1,
        "command": f"python benchmarks/exits.py {shlex.join(sys.argv[1:])}".strip(),
        "environment": environment(None),
        "data": {},
    }
    for entry in args.data:
        data, _, given = entry.partition("=")
        if data not in AIMS:
            parser.error(f"unknown '{data}' (one of: {', '.join(AIMS)})")
        saved, lost = AIMS[data]
        if given:
            folder, made = Path(given), {"of": "a run that was given"}
        else:
            folder = args.runs / data
            threads = [f"--num-threads={args.threads}"]
            made = trained(data, folder, args.steps, threads)
        found = measured(folder, data, lost)
        if data == SHOWN:
            calibration = goodness.load(folder).calibration
            assert calibration is not None
            picture = args.out.parent / "docs" / "exits.png"
            draw_exits(calibration, picture, "spectral-local, FashionMNIST")
        reached = found["saved"] >= saved and found["points_lost"] <= 100 * lost + 1e-6
        aim = {"saved": saved, "points_lost": 100 * lost, "reached": reached}
        content["data"][data] = {"aim": aim, **found, "training": made}
        write(args.out / "exits.json", content)


if __name__ == "__main__":
    main()
