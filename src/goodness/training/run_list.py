"""The runs in a folder, told from their files: no network is built, and nothing is imported."""

from __future__ import annotations

from pathlib import Path

from goodness.errors import InputError
from goodness.results import RunSummary
from goodness.training.lock import OWNER, Busy, check_free
from goodness.training.run_folder import RunFolder


def summaries(folder: Path) -> list[RunSummary]:
    """The runs below a folder, at any depth, the newest first.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder '{folder}'")
    found = []
    for config in folder.rglob("config.json"):
        run = RunFolder(config.parent)
        # Others keep a config.json as well: shared networks, and other programs.
        if run.metrics_file.exists() or run.environment_file.exists():
            found.append(summary(run))
    return sorted(found, key=lambda each: (each.date or "", each.path), reverse=True)


def summary(run: RunFolder) -> RunSummary:
    """What a run's files say of it."""
    path = str(run.path)
    try:
        values = run.read_values()
        rows = run.history()
        result = run.read_result()
        environment = run.read_environment() or {}
    except InputError as error:
        return RunSummary(path, f"damaged: {error}")
    best = max((row.val.accuracy for row in rows), default=None)
    epoch = rows[-1].epoch if rows else 0
    ended = result is not None and epoch == result.train.epochs
    try:
        return RunSummary.from_json(
            {
                "path": path,
                "state": _state(run, ended),
                "method": values["method"],
                "data": Path(values["data"]).name,
                "model": values["model"]["name"],
                "epoch": epoch,
                "epochs": values["epochs"],
                "val": best if result is None else result.val.accuracy,
                "test": None if result is None or result.test is None else result.test.accuracy,
                "date": environment.get("date"),
            }
        )
    except (TypeError, ValueError, KeyError):  # no configuration has been made of it
        return RunSummary(path, f"damaged: '{run.config_file}' has values of wrong types")


def _state(run: RunFolder, ended: bool) -> str:
    if (run.path / OWNER).exists():  # by a process that lives, or was killed
        try:
            check_free(run.path)
        except Busy:
            return "training"
        except InputError:  # nothing can be locked there
            pass
    return "finished" if ended else "stopped"
