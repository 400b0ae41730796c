"""Image files in one folder per class."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from goodness.data.images import EXTENSIONS
from goodness.data.source import Files, Source, make_source
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
    paths: list[Path] = []
    labels: list[int] = []
    for label, class_folder in enumerate(folders):
        files = _images_below(class_folder)
        if not files:
            raise InputError(f"class folder '{class_folder}' holds no image")
        paths += files
        labels += [label] * len(files)
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
        if not (files := _images_below(place)):
            raise InputError(f"the folder '{place}' holds no image")
        return files
    # A file may have brackets in its name.
    if glob.has_magic(str(place)) and not os.path.exists(place):
        found = sorted(glob.glob(str(at_home(place)), recursive=True))
        files = [Path(name) for name in found if Path(name).is_file()]
        if not files:
            raise InputError(f"there is no file like '{place}'")
        return files
    return [place]


def _images_below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS and not _hidden(path) and path.is_file()
    )


def _hidden(path: Path) -> bool:
    """Whether a tool left it behind, such as ``.ipynb_checkpoints`` or ``._photo.jpg``."""
    return path.name.startswith(".")
