"""``--overwrite``: the old run stays until the new one has finished an epoch.

Its files are moved to ``.replaced`` in the run folder, file by file, and nothing else is. So a
user's own files stay where they are, and a folder may be a link or the one we stand in. At any
moment a process may be killed; `settle` then tells by what is there what is left to do:

- ``.replacing``: the old run was being moved, there or back. Every file that is elsewhere is in its
  place, so all that is in there goes back.
- ``.replaced``: the old run is all in there, and what is in the folder is the new one's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from goodness.errors import InputError
from goodness.training import checkpoint

REPLACED, REPLACING = ".replaced", ".replacing"
FILES = (
    *("config.json", "environment.json", "metrics.jsonl", "metrics.csv", "curves.png"),
    *("loggers.json", "result.json", "exits.json", "exits.png", "diagnosis.json", "report.html"),
    "confusion-*.png",
)
"""What a run, and the commands that measure it, write into its folder."""
CHECKPOINTS = re.compile(r"best|last|epochs|\.(best|last)\.(new|old)")
"""Folders that are replaced whole, with what `KEPT` says in them."""
KEPT = ("state.json", "metrics.jsonl", "*.safetensors")
LOGS = {"tensorboard": "events.out.tfevents.*", "wandb": "*"}
"""Folders of loggers, and the names of what these write there."""


def check_own(folder: Path) -> None:
    """Refuse to replace a run where a checkpoint's folder, which goes whole, holds other files.

    Raises:
        InputError: naming the first one.
    """
    for path in _written(folder):
        if path.is_symlink() or not path.is_dir() or not CHECKPOINTS.fullmatch(path.name):
            continue
        for inside in sorted(path.rglob("*")):
            if not inside.is_dir() and not any(fnmatch(inside.name, kept) for kept in KEPT):
                raise InputError(
                    f"'{inside}' was written by no run: move it elsewhere before the run in"
                    f" '{folder}' is replaced"
                )


def set_aside(folder: Path) -> None:
    """Move a run's files to ``.replaced``."""
    _move(folder, folder / REPLACING, list(_written(folder)))
    (folder / REPLACING).rename(folder / REPLACED)


def settle(folder: Path) -> None:
    """Finish what a replacement, which maybe was killed, has left to do.

    The old run goes when the new one can answer, and comes back when the new one has nothing to go
    on with. In between both are kept.
    """
    _move_back(folder)
    if not (folder / REPLACED).is_dir():
        return
    if checkpoint.find(folder / "best") is not None:
        shutil.rmtree(folder / REPLACED)
    elif checkpoint.find(folder / "last") is None:
        for path in _written(folder):
            if path.name != REPLACED:
                _remove(path)
        (folder / REPLACED).rename(folder / REPLACING)
        _move_back(folder)


def is_unsettled(folder: Path) -> bool:
    """Whether a replacement has begun and not come to its end."""
    return any((folder / name).is_dir() for name in (REPLACED, REPLACING))


def _written(folder: Path) -> Iterator[Path]:
    """What a run has written into its folder, files and whole folders; no link is followed."""
    for path in sorted(folder.iterdir()):
        name = path.name
        if path.is_symlink() or not path.is_dir():
            own = (*FILES, *LOGS, *(f".{file}.[0-9]*.new" for file in FILES))
            if any(fnmatch(name, each) for each in own) or CHECKPOINTS.fullmatch(name):
                yield path
        elif name == REPLACED or CHECKPOINTS.fullmatch(name):
            yield path
        elif name in LOGS:
            yield from sorted(path.glob(LOGS[name]))


def _move_back(folder: Path) -> None:
    """Bring home what is in ``.replacing``."""
    source = folder / REPLACING
    if source.is_dir():
        _move(source, folder, list(_written(source)))
        shutil.rmtree(source)


def _move(source: Path, target: Path, paths: list[Path]) -> None:
    target.mkdir(exist_ok=True)
    for path in paths:
        place = target / path.relative_to(source)
        place.parent.mkdir(exist_ok=True)
        path.replace(place)
        if path.parent != source:
            with suppress(OSError):  # a user's file is in there, too
                path.parent.rmdir()


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)
