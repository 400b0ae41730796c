"""From a name or a folder to the images it holds, nothing decoded yet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from goodness.data.catalogue import CATALOGUE, data_root
from goodness.data.folder import read_class_folders
from goodness.data.named import read_named
from goodness.data.parquet import read_parquet
from goodness.data.source import Source
from goodness.errors import InputError, unknown

# The names a part goes by, in a folder and at the start of a Parquet file's name.
FOLDERS = {"train": "train", "val": "val", "test": "test"}
PREFIXES = {"train": "train", "val": "validation", "test": "test"}


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
    else, and a word that is no name, is a folder.

    Raises:
        InputError: there is nothing of this name, or the folder holds no images.
    """
    text = os.fspath(name_or_folder)
    base = data_root(root)
    if isinstance(name_or_folder, str) and Path(text).name == text and text != "..":
        if any((base / text).glob("*.parquet")):
            return Located(text, _parquet_parts(base / text))
        if text in CATALOGUE:
            return Located(text, read_named(text, base))
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _locate_in_folder(folder)
    if folder.exists():
        raise InputError(f"'{folder}' is a file; data is a name or a folder")
    if folder.name != text:
        raise InputError(f"there is no folder '{folder}'")
    stored = [file.parent.name for file in base.glob("*/*.parquet")]
    raise InputError(f"{unknown('data set', text, {*CATALOGUE, *stored})}; or give a folder's path")


def _locate_in_folder(folder: Path) -> Located:
    name = folder.resolve().name
    if any(folder.glob("*.parquet")):
        return Located(name, _parquet_parts(folder))
    parts = {
        part: read_class_folders(folder / subfolder)
        for part, subfolder in FOLDERS.items()
        if (folder / subfolder).is_dir()
    }
    if parts:
        return Located(name, parts)
    return Located(name, {"train": read_class_folders(folder)}, flat=True)


def _parquet_parts(folder: Path) -> dict[str, Source]:
    parts = {
        part: read_parquet(files)
        for part, prefix in PREFIXES.items()
        if (files := sorted(folder.glob(f"{prefix}*.parquet")))
    }
    if not parts:
        raise InputError(f"no train-*.parquet or test-*.parquet in '{folder}'")
    return parts
