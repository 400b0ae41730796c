"""Image files in one folder per class."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from goodness.data.images import EXTENSIONS
from goodness.data.source import Files, Paths, Source, make_source
from goodness.errors import InputError
from goodness.files import at_home

T = TypeVar("T")


def read_class_folders(folder: Path) -> Source:
    """The images of ``<folder>/<class>/**``; classes in alphabetical order.

    Raises:
        InputError: there is no class folder, or one without an image.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not _hidden(path))
    if not folders:
        raise InputError(
            f"no images found in '{folder}': it should hold <class>/ folders of images, "
            "train/<class>/ and test/<class>/ folders, or train-*.parquet files"
        )
    counts: list[int] = []

    def listed() -> Iterator[str]:
        for class_folder in folders:
            files = _images_below(class_folder)
            if not files:
                raise InputError(f"class folder '{class_folder}' holds no image")
            counts.append(len(files))
            yield from files

    paths = Paths(listed())
    labels = np.repeat(np.arange(len(folders)), counts)
    return make_source(Files(paths), labels, [path.name for path in folders])


def expanded(images: Iterable[T]) -> Iterator[tuple[str, T | Path]]:
    """Every image with its name: of folders and patterns each file, in alphabetical order.

    Args:
        images: files, folders, patterns such as ``photos/**/*.jpg``, and images of other kinds,
            which go by their number.

    Raises:
        InputError: a folder holds no image, or no file is like a pattern.
    """
    for number, image in enumerate(images):
        if not isinstance(image, str | Path):
            yield f"image {number}", image
            continue
        for file in _files(Path(image)):
            yield str(file), file


def _files(place: Path) -> list[Path]:
    # Of os, which says no to a name that is too long.
    if os.path.isdir(place):
        if not (below := _images_below(place)):
            raise InputError(f"the folder '{place}' holds no image")
        return list(map(Path, below))
    # A file may have brackets in its name.
    if glob.has_magic(str(place)) and not os.path.exists(place):
        found = sorted(glob.glob(str(at_home(place)), recursive=True))
        files = [Path(name) for name in found if Path(name).is_file()]
        if not files:
            raise InputError(f"there is no file like '{place}'")
        return files
    return [place]


def _images_below(folder: Path) -> list[str]:
    """The image files at any depth, in the order of their paths' parts; links to folders are none.

    Not by `Path.rglob`, which takes several times as long.
    """
    found = [
        entry.path
        for entry in _entries(os.fspath(folder))
        if os.path.splitext(entry.name)[1].lower() in EXTENSIONS
        and not entry.name.startswith(".")
        and entry.is_file()
    ]
    return sorted(found, key=lambda path: os.path.normcase(path).split(os.sep))


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)
            else:
                yield entry


def _hidden(path: Path) -> bool:
    """Whether a tool left it behind, such as ``.ipynb_checkpoints`` or ``._photo.jpg``."""
    return path.name.startswith(".")
