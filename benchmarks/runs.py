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

FACTORS = (1 / 3, 1, 3)


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

    Args:
        words: options of every trial.
        centre: the rate tried in the middle.
        trial: further options, e.g. fewer epochs.

    Returns:
        The rate, and the trials.
    """
    trials = []
    for factor in FACTORS:
        lr = float(f"{centre * factor:.2g}")
        found = train([*words, *trial, f"--lr={lr}", "--set=final_test=false"])
        trials.append(
            {
                "lr": lr,
                "command": found["command"],
                "val_accuracy": found["val"]["accuracy"],
                "seconds": found["train"]["seconds"],
            }
        )
        print(f"  val {found['val']['accuracy']:.4f}", file=sys.stderr, flush=True)
    return max(trials, key=lambda trial: trial["val_accuracy"])["lr"], trials


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a record."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
