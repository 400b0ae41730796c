"""From a name or a folder to the images it holds, nothing decoded yet."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from goodness.data.catalogue import CATALOGUE, GIVEN_NAMES, HUB, data_root
from goodness.data.folder import read_class_folders
from goodness.data.hub import read_hub
from goodness.data.named import read_named
from goodness.data.parquet import read_parquet
from goodness.data.source import Source
from goodness.errors import InputError, unknown
from goodness.files import at_home

T = TypeVar("T")

# The names a part goes by: of a folder, or at the start of a Parquet file's name, where the longer
# ones are looked for first.
NAMES = {"train": ("train",), "val": ("validation", "valid", "val"), "test": ("test",)}


@dataclass(frozen=True)
class Located:
    """The parts of a data set as they lie on the disk.

    Attributes:
        name: what to call the data set.
        parts: those that exist among "train", "val" and "test".
        flat: the folder has its classes directly below it, so that which part the images
            belong to ("train" here) is for the caller to say.
    """

    name: str
    parts: dict[str, Source]
    flat: bool = False


def locate(name_or_folder: str | Path, root: str | Path | None = None) -> Located:
    """Find a data set.

    A plain word is a name first: ``<root>/<name>/*.parquet``, then a known data set. Anything
    else, and a word that is no name, is a folder; where there is none, ``hf/NAME`` is a data set
    of the Hugging Face hub.

    Raises:
        InputError: there is nothing of this name, or the folder holds no images.
    """
    text = os.fspath(name_or_folder)
    if isinstance(name_or_folder, str) and Path(text).name == text and text != "..":
        base = data_root(root)
        if any((base / text).glob("*.parquet")):
            return Located(text, _parquet_parts(base / text))
        if text in CATALOGUE:
            return Located(text, read_named(text, base))
    folder = at_home(text)
    if folder.is_dir():
        return _locate_in_folder(folder)
    base = data_root(root)  # not before: a folder needs no home
    family, _, name = text.partition("/")
    if isinstance(name_or_folder, str) and name and family == HUB:
        return Located(name, _by_part(text, read_hub(name, base)))
    if text in GIVEN_NAMES:
        raise InputError(
            f"'{text}' is data that a program gave, which is not kept: give it again"
            " (run.evaluate(data), goodness.resume(run, data=data))"
        )
    if folder.exists():
        raise InputError(f"'{folder}' is a file; data is a name or a folder")
    if folder.name != text:
        raise InputError(f"there is no folder '{folder}'")
    stored = [file.parent.name for file in base.glob("*/*.parquet")]
    raise InputError(f"{unknown('data set', text, {*CATALOGUE, *stored})}; or give a folder's path")


def class_folders_in(folder: Path) -> list[Path]:
    """Where every folder is a class: the folder of a data set, or those of its parts."""
    if any(folder.glob("*.parquet")):
        return []
    parts = [folder / name for names in NAMES.values() for name in names]
    return [part for part in parts if part.is_dir()] or [folder]


def _locate_in_folder(folder: Path) -> Located:
    name = folder.resolve().name
    if any(folder.glob("*.parquet")):
        return Located(name, _parquet_parts(folder))
    folders = [path for path in folder.iterdir() if path.is_dir()]
    found = _by_part(folder, {path.name: path for path in folders})
    if found:
        return Located(name, {part: read_class_folders(path) for part, path in found.items()})
    return Located(name, {"train": read_class_folders(folder)}, flat=True)


def _parquet_parts(folder: Path) -> dict[str, Source]:
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.parquet")):
        for name in itertools.chain(*NAMES.values()):
            if file.name.startswith(name):
                files.setdefault(name, []).append(file)
                break
    found = _by_part(folder, files)
    if not found:
        raise InputError(f"no train-*.parquet or test-*.parquet in '{folder}'")
    return {part: read_parquet(named) for part, named in found.items()}


def _by_part(folder: str | Path, named: Mapping[str, T]) -> dict[str, T]:
    """What goes by a part's name, by part.

    Raises:
        InputError: a part is there under two names.
    """
    found = {}
    for part, names in NAMES.items():
        there = [name for name in names if name in named]
        if len(there) > 1:
            raise InputError(
                f"'{folder}' holds both '{there[0]}' and '{there[1]}': one part under two names;"
                " remove or rename one"
            )
        if there:
            found[part] = named[there[0]]
    return found
