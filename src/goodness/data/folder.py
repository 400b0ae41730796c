"""Image files in one folder per class."""

from __future__ import annotations

from pathlib import Path

from goodness.data.images import EXTENSIONS
from goodness.data.source import Files, Source, make_source
from goodness.errors import InputError


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


def _images_below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS and not _hidden(path) and path.is_file()
    )


def _hidden(path: Path) -> bool:
    """Whether a tool left it behind, such as ``.ipynb_checkpoints`` or ``._photo.jpg``."""
    return path.name.startswith(".")
