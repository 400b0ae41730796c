"""Where ``--out`` may point, looked at before any work is done for it, and writing files whole."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from goodness.errors import InputError


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made, or in which nothing can be written.

    Raises:
        InputError: naming what is in the way.
    """
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not nearest.is_dir():
        raise InputError(f"'{nearest}' is a file; --out needs a folder")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"nothing can be written in '{nearest}'; choose another --out")


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written.

    Raises:
        InputError: naming what is in the way.
    """
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; --out needs a file, such as one in it")
    if not path.parent.exists():
        raise InputError(f"there is no folder '{path.parent}' for --out; make it first")
    check_folder(path.parent)


def file_name(text: str) -> str:
    """A text without the characters that Windows refuses in the name of a file.

    >>> file_name("cifar:small")
    'cifar-small'
    """
    return re.sub(r'[<>:"/\\|?*]', "-", text)


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
