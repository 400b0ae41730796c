"""What the scripts beside this one share: one ``goodness train`` command and its record."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MOST_TRIALS = 5


def train(words: Sequence[str], folder: Path | None = None) -> dict[str, Any]:
    """Run ``goodness train WORDS``.

    Args:
        words: its options.
        folder: the run folder, to be kept; None takes one that is thrown away.

    Returns:
        ``command``, ``environment`` and the content of ``result.json``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run = folder or Path(scratch) / "run"
        command = shlex.join(["goodness", "train", *words])
        print(command, file=sys.stderr, flush=True)
        python = [sys.executable, "-m", "goodness", "train", *words]
        subprocess.run(
            [*python, f"--out={run}", "--overwrite"], check=True, stdout=subprocess.DEVNULL
        )
        return record(run, command)


def record(run: Path, command: str) -> dict[str, Any]:
    """A finished run's record."""
    environment = json.loads((run / "environment.json").read_text())
    del environment["command"]  # it names this machine's folders
    result = json.loads((run / "result.json").read_text())
    return {"command": command, "environment": environment, **result}


def search(words: Sequence[str], centre: float, trial: Sequence[str]) -> tuple[float, list[Any]]:
    """The learning rate with the best validation accuracy; the test images are not looked at.

    Tried are the centre, a third and three times of it, and, while the best is the lowest or the
    highest of those tried, up to two more beyond it.

    Args:
        words: options of every trial.
        centre: the rate tried first.
        trial: further options, e.g. fewer epochs.

    Returns:
        The rate, and the trials from the lowest rate to the highest.
    """
    trials: dict[int, dict[str, Any]] = {}
    wanted = [0, -1, 1]
    while wanted:
        power = wanted.pop(0)
        lr = float(f"{centre * 3.0**power:.2g}")
        found = train([*words, *trial, f"--lr={lr}", "--set=final_test=false"])
        trials[power] = {
            "lr": lr,
            "command": found["command"],
            "val_accuracy": found["val"]["accuracy"],
            "seconds": found["train"]["seconds"],
        }
        print(f"  val {found['val']['accuracy']:.4f}", file=sys.stderr, flush=True)
        best = max(trials, key=lambda tried: trials[tried]["val_accuracy"])
        if not wanted and len(trials) < MOST_TRIALS and best in (min(trials), max(trials)):
            wanted = [best + (1 if best > 0 else -1)]
    return trials[best]["lr"], [trials[power] for power in sorted(trials)]


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a record."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
