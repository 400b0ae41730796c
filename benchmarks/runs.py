"""What the scripts beside this one share: one ``goodness train`` command and its record."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goodness.comparison.search import climb, rates
from goodness.training.run_folder import RunFolder

REGIME = [
    "--set=optimizer={name: muon, lr: 0.1}",
    "--set=lr_schedule={name: linear, start: 0, every: step}",
    "--set=label_smoothing=0.1",
    "--set=augment={crop: 2, padding: reflect, flip: alternate}",
]
"""How the recipes train, for networks that are not theirs."""
FRAME = [
    "--set=model.order=conv-pool-norm-act",
    "--set=model.activation=gelu",
    "--set=model.init=dirac",
    "--set=model.whiten=2",
    *REGIME,
]
"""The same with their kind of network."""
FAILED = 1
"""What ``goodness train`` exits with where a loss is not finite."""
STOPPED = 143
"""What a command of ours exits with that SIGTERM has asked to save itself and end."""


def train(
    words: Sequence[str], folder: Path | None = None, diagnosed: bool = False
) -> dict[str, Any]:
    """Run ``goodness train WORDS``.

    Args:
        words: its options.
        folder: the run folder, to be kept; None takes one that is thrown away.
        diagnosed: whether its blocks are looked at, see ``goodness diagnose``.

    Returns:
        ``command``, ``environment`` and the content of ``result.json``; and ``diagnosis`` where
        that was asked for.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run = folder or Path(scratch) / "run"
        command = shlex.join(["goodness", "train", *words])
        print(command, file=sys.stderr, flush=True)
        python = [sys.executable, "-m", "goodness", "train", *words]
        subprocess.run(
            [*python, f"--out={run}", "--overwrite"], check=True, stdout=subprocess.DEVNULL
        )
        found = record(run, command)
        if diagnosed:
            seen = subprocess.run(
                [sys.executable, "-m", "goodness", "diagnose", str(run), "--json"],
                check=True,
                stdout=subprocess.PIPE,
            )
            found["diagnosis"] = json.loads(seen.stdout)["blocks"]
        return found


def advance(folder: Path, words: Sequence[str], deadline: float) -> bool:
    """Start ``goodness train WORDS`` or resume it; whether it has finished.

    Args:
        folder: of the run; a finished one is left alone.
        words: its options.
        deadline: on `time.monotonic`'s clock; the run is then asked to save itself and end.
    """
    run = RunFolder(folder)
    if run.result_file.exists():
        return True
    resumed = run.has_checkpoint()
    options = ["--resume", str(folder)] if resumed else [*words, f"--out={folder}", "--overwrite"]
    return until(deadline, ["train", *options])


def until(deadline: float, words: Sequence[str]) -> bool:
    """Run ``goodness WORDS`` until it ends or is asked to; whether it has finished.

    Raises:
        CalledProcessError: it has failed.
    """
    command = [sys.executable, "-m", "goodness", *words]
    print(shlex.join(["goodness", *words]), file=sys.stderr, flush=True)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        code = process.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.terminate()
        code = process.wait()
    if code not in (0, STOPPED):
        raise subprocess.CalledProcessError(code, command)
    return code == 0


def record(run: Path, command: str) -> dict[str, Any]:
    """A finished run's record."""
    environment = json.loads((run / "environment.json").read_text())
    del environment["command"]  # it names this machine's folders
    result = json.loads((run / "result.json").read_text())
    return {"command": command, "environment": environment, **result}


def search(
    words: Sequence[str], centre: float, trial: Sequence[str] = ()
) -> tuple[float, list[dict[str, Any]]]:
    """The learning rate with the best validation accuracy; the test images are not looked at.

    Args:
        words: options of every trial.
        centre: the rate tried first, then a third and three times of it, and further while the
            best is the lowest or the highest of those tried; see `goodness.comparison.search`.
        trial: further options, e.g. fewer epochs.

    Returns:
        The rate, and the trials from the lowest rate to the highest; ``at_end`` is true of the best
        one where the search was given up before it lay inside.
    """
    rates_, start = rates(centre)
    return best_of("--lr=", rates_, start, words, trial)


def best_of(
    option: str,
    values: Sequence[float],
    start: int,
    words: Sequence[str],
    trial: Sequence[str] = (),
) -> tuple[float, list[dict[str, Any]]]:
    """The value of an option with the best validation accuracy.

    Args:
        option: what stands before the value.
        values: a ladder of values.
        start: the place of the one tried first.
        words: options of every trial.
        trial: further options, e.g. fewer epochs.

    Returns:
        As `search`.
    """
    trials: dict[int, dict[str, Any]] = {}

    def score(place: int) -> float | None:
        tried = {option.strip("-=").rpartition("=")[2].replace("-", "_"): values[place]}
        try:
            found = train([*words, *trial, f"{option}{values[place]}", "--set=final_test=false"])
        except subprocess.CalledProcessError as error:
            if error.returncode != FAILED:
                raise
            trials[place] = {**tried, "val_accuracy": None}  # it diverged
            return None
        accuracy: float = found["val"]["accuracy"]
        trials[place] = {
            **tried,
            "command": found["command"],
            "val_accuracy": accuracy,
            "readout": found["val"]["readout"],
            "seconds": found["train"]["seconds"],
            "epochs": found["train"]["epochs"],
        }
        print(f"  val {accuracy:.4f}", file=sys.stderr, flush=True)
        return accuracy

    climbed = climb(len(values), start, score)
    if climbed.best is None:
        raise SystemExit(f"no value of {option} that was tried gave finite losses")
    if climbed.at_end:
        print(f"  {option}{values[climbed.best]}: at the end of what was tried", file=sys.stderr)
    trials[climbed.best] |= {"best": True, "at_end": climbed.at_end}
    return values[climbed.best], [trials[place] for place in sorted(trials)]


def best_trial(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The one that a search has chosen."""
    return next(trial for trial in trials if trial.get("best"))


def left_out(values: Mapping[str, Any]) -> list[str]:
    """Configuration values of `goodness.comparison.protocol` that choose readouts, as options."""
    words = [f"--set=readouts.{name}=null" for name in values.get("readouts", {})]
    return words + ([f"--readout={values['readout']}"] if "readout" in values else [])


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a record; what another commit had measured is kept in it, under ``former``."""
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        before = json.loads(path.read_text())
        former = before.get("former", [])
        if _commit(before) != _commit(content) and (found := accuracies(before)):
            former = [*former, {"commit": _commit(before), "accuracies": found}]
        if former:
            content = {**content, "former": former}
    path.write_text(json.dumps(content, indent=1) + "\n")


def accuracies(content: Mapping[str, Any]) -> dict[str, float]:
    """The test accuracies of a record, by method or column; empty for what is no training."""
    if "columns" in content:
        return {name: column["test_accuracy"] for name, column in content["columns"].items()}
    if isinstance(content.get("methods"), list):
        rows = {row["method"]: row["mean"] for row in content["methods"]}
        return {name: mean for name, mean in rows.items() if mean is not None}
    if "test" in content:
        return {"": content["test"]["accuracy"]}
    return {}


def _commit(content: Mapping[str, Any]) -> str | None:
    """Where a record is from; of one with columns the first run says it."""
    environment = content.get("environment")
    if environment is None and content.get("columns"):
        environment = next(iter(content["columns"].values()))["runs"][0]["environment"]
    git = (environment or {}).get("git")
    return git["commit"] if git else None
