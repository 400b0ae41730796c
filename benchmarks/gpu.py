"""What only a GPU can show, in pieces: speed and memory first, then whole trainings.

    GOODNESS_DATA=... benchmarks/gpu.sh --minutes 9

The pieces come in the order of `pieces`. One that has its record is left alone; one that is
stopped, as ``--minutes`` are over, goes on where it was when the same words are called again. A
piece that fails is told about and does not keep the next ones from running. Records are written to
``results/gpu``; docs/performance.md has a table of them (``make readme``). ``--tiny`` tries all
kinds of pieces small, on any machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runs import advance, record, until, write
from speed import record_of

BEST = ("cifar10", "cifar100", "imagenette", "fashion_mnist", "mnist")
PAPER = ("cifar10", "mnist", "fashion_mnist", "cifar100")
COMPARED = {"cifar10": 600, "cifar100": 900}
"""Seconds per run of the recipe beside backprop, whose rate is searched as well."""
SMALL = ["--epochs=1", "--set=steps_per_epoch=2", "--batch-size=32"]


@dataclass(frozen=True)
class Piece:
    """One record.

    Args:
        path: of the record.
        make: is told the deadline; makes the record and tells whether it is complete.
    """

    path: Path
    make: Callable[[float], bool]


def bench(name: str, compiled: str | None, out: Path, words: Sequence[str]) -> Piece:
    """A table of ``speed.py``."""
    command = [sys.executable, str(Path(__file__).parent / "speed.py"), name, f"--out={out}"]
    command += [*words, *([f"--compile={compiled}"] if compiled else [])]

    def make(deadline: float) -> bool:
        # Stopped half-way it would have measured nothing.
        subprocess.run(command, check=True, timeout=max(1.0, deadline - time.monotonic()))
        return True

    return Piece(record_of(name, compiled, out), make)


def training(name: str, words: Sequence[str], out: Path, runs: Path) -> Piece:
    """One run."""
    path = out / f"{name}.json"

    def make(deadline: float) -> bool:
        if not advance(runs / name, words, deadline):
            return False
        found = record(runs / name, " ".join(["goodness", "train", *words]))
        write(path, {"schema": 1, **found})
        return True

    return Piece(path, make)


def comparison(name: str, words: Sequence[str], out: Path, runs: Path) -> Piece:
    """A method beside backprop, rates searched alike."""
    path, folder = out / f"{name}.json", runs / name

    def make(deadline: float) -> bool:
        if not until(deadline, ["compare", *words, f"--out={folder}"]):
            return False
        write(path, json.loads((folder / "report.json").read_text()))
        return True

    return Piece(path, make)


def pieces(out: Path, runs: Path) -> list[Piece]:
    """What is measured, the cheapest and most wanted first."""
    half = ["--amp=bf16"]
    found = [
        bench(name, compiled, out, half)
        for name in ("vgg8", "vgg16l", "audit", "lookahead-resnet18-2")
        for compiled in (None, "true", "reduce-overhead")
    ]
    found += [
        training(f"asge-{data}", ["--method=asge", f"--data={data}"], out, runs) for data in PAPER
    ]
    found += [training(f"best-{data}", [f"--recipe={data}-best"], out, runs) for data in BEST]
    found += [
        comparison(
            f"level-{data}",
            ["spectral-local", f"--recipe={data}-best", f"--budget={budget}"],
            out,
            runs,
        )
        for data, budget in COMPARED.items()
    ]
    return found


def tiny(out: Path, runs: Path) -> list[Piece]:
    """One piece of each kind on the embedded digits."""
    few = ["--steps=1", "--batch-size=8", "--threads=1"]
    digits = ["--data=digits", "--num-threads=1"]
    return [
        bench("level-small-cnn", None, out, few),
        training("asge-digits", ["--method=asge", *digits, *SMALL], out, runs),
        comparison(
            "level-digits",
            ["spectral-local", *digits, SMALL[-1], "--budget=1", "--seeds=1", "--trial-share=1"],
            out,
            runs,
        ),
    ]


def main() -> None:
    """Make the records that are missing until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    made = (tiny if args.tiny else pieces)(args.out, args.runs)
    failed = []
    for piece in made:
        if piece.path.exists():
            continue
        print(f"{piece.path.stem} …", file=sys.stderr, flush=True)
        try:
            complete = piece.make(deadline)
        except subprocess.TimeoutExpired:
            complete = False
        except subprocess.CalledProcessError as error:
            failed.append(f"{piece.path.stem} (exit {error.returncode})")
            continue
        if not complete:
            break
    left = sum(not piece.path.exists() for piece in made)
    print(f"{len(made) - left} of {len(made)} records are there", file=sys.stderr)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
