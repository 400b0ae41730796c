"""Where ``--out`` may point, looked at before any work is done for it, and writing files whole."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from goodness.errors import InputError

LEFTOVER = re.compile(r"\.lock|\.owner\.json|\..+\.\d+\.new")
"""Names of what a process that was killed may leave in a folder before anything else is there."""


DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names of devices under Windows, with whatever ending."""


def is_vacant(folder: Path) -> bool:
    """Whether a folder is not there, or holds nothing but what a killed process has left."""
    return not folder.exists() or all(LEFTOVER.fullmatch(path.name) for path in folder.iterdir())


def is_taken(folder: Path, what: str, holds: Callable[[Path], bool]) -> bool:
    """Whether what is to be written into a folder has one there already.

    Args:
        folder: made later if it is not there.
        what: for the message.
        holds: whether a folder that is not empty has one of these.

    Raises:
        InputError: it holds something else, or it cannot be made or written in.
    """
    check_folder(folder)
    if is_vacant(folder):
        return False
    if not holds(folder):
        raise InputError(f"'{folder}' is not empty and holds no {what}; choose another folder")
    return True


def check_regular(path: Path) -> None:
    """Refuse what is there but no file or folder: reading a pipe or a device may never end.

    Raises:
        InputError: saying what it is.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # who opens it says why
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"'{path}' is a pipe, a device or a socket; a file is needed")


def at_home(path: str | Path) -> Path:
    """A path with the home folder in place of ``~`` or ``~user``.

    Raises:
        InputError: there is no such user, or the home folder is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"the home folder in '{path}' is not known; write it out") from None


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made, or in which nothing can be written.

    Raises:
        InputError: naming what is in the way.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:  # safetensors reads no such file
        raise InputError(f"the name '{path}' is not UTF-8; choose another --out") from None
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not nearest.is_dir():
        raise InputError(f"'{nearest}' is a file; --out needs a folder")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"nothing can be written in '{nearest}'; choose another --out")


def check_file(path: Path, overwrite: bool) -> None:
    """Refuse a file that cannot be written.

    Args:
        path: the file.
        overwrite: whether it may be there already.

    Raises:
        InputError: naming what is in the way.
    """
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; --out needs a file, such as one in it")
    if not path.parent.exists():
        raise InputError(f"there is no folder '{path.parent}' for --out; make it first")
    check_folder(path.parent)
    check_new(path, overwrite)


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse a file that is there already, unless it was asked to be replaced.

    Raises:
        InputError: it is there.
    """
    if path.exists() and not overwrite:
        raise InputError(f"'{path}' is there already; --overwrite replaces it")


def file_name(text: str, longest: int = 200) -> str:
    """A text made from others' names that every system takes for the name of a file.

    Without the characters and names that Windows refuses, and of at most ``longest`` bytes in
    UTF-8: systems allow 255.

    >>> file_name("cifar:small"), file_name("con.txt")
    ('cifar-small', '_con.txt')
    """
    plain = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "-", text)
    cut = os.fsencode(plain)[:longest].decode(errors="replace").replace("\ufffd", "_")
    kept = re.sub(r"[. ]+$", lambda end: "_" * len(end[0]), cut) or "_"
    return f"_{kept}" if DEVICE.match(kept) else kept


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file beside and rename it over ``path``."""
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside and rename it over ``path``, so that no reader sees half of it."""
    with _beside(path) as fresh:
        fresh.write_bytes(content)


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """A text file to write into; likewise it is there when it is whole, and not at all else.

    Bytes of other files' names that are no UTF-8 are written as they are.
    """
    with (
        _beside(path) as fresh,
        fresh.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    # Another process may write the same file.
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        yield fresh
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
