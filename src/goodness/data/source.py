"""Labelled images that are opened one at a time, wherever they lie."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from goodness.data.images import Pixels, image_size, open_image
from goodness.data.settings import MAX_PIXELS
from goodness.errors import InputError

Rows = NDArray[np.int64]


class Reader(Protocol):
    """Opens the images of one place by row."""

    def name(self, row: int) -> str:
        """What to call the image in a message."""

    def open(self, row: int, max_pixels: int) -> Image.Image:
        """The image, see `goodness.data.images.open_image`."""

    def size(self, row: int) -> tuple[int, int]:
        """Its (height, width), without decoding it; raises likewise."""


class Paths:
    """Names of files in the memory of their letters.

    A million `Path` objects would take a gigabyte, which every process that decodes would copy.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        letters, ends = bytearray(), array("q", [0])
        for path in paths:
            letters += os.fsencode(path)
            ends.append(len(letters))
        self._letters, self._ends = bytes(letters), np.frombuffer(ends, np.int64)

    def __getitem__(self, index: int) -> str:
        return os.fsdecode(self._letters[self._ends[index] : self._ends[index + 1]])


@dataclass(frozen=True)
class Files:
    """Reads image files."""

    paths: Paths

    def name(self, row: int) -> str:
        """The path."""
        return self.paths[row]

    def open(self, row: int, max_pixels: int) -> Image.Image:
        """The image in the file."""
        return open_image(Path(self.paths[row]), max_pixels)

    def size(self, row: int) -> tuple[int, int]:
        """From the file's header."""
        return image_size(Path(self.paths[row]))

    def stored_size(self, row: int) -> int:
        """The file's size."""
        return os.stat(self.paths[row]).st_size

    def stored(self, row: int) -> bytes:
        """The file's bytes."""
        return Path(self.paths[row]).read_bytes()


@dataclass(frozen=True)
class Arrays:
    """Reads images that are decoded already: uint8 (N, H, W) or (N, H, W, 3)."""

    title: str
    pixels: Pixels

    def name(self, row: int) -> str:
        """The title and the row."""
        return f"{self.title} image {row}"

    def open(self, row: int, max_pixels: int) -> Image.Image:
        """The image of the row."""
        return Image.fromarray(self.pixels[row])

    def size(self, row: int) -> tuple[int, int]:
        """That of all of them."""
        height, width = self.pixels.shape[1:3]
        return height, width

    def stored_size(self, row: int) -> int:
        """That of all of them."""
        return self.pixels[row].nbytes

    def stored(self, row: int) -> bytes:
        """The pixels."""
        return self.pixels[row].tobytes()


@dataclass(frozen=True)
class Source:
    """Images with labels, opened on demand.

    Attributes:
        reader: opens an image by its row.
        rows: the reader's rows that belong to this source, in order (N,).
        labels: the class index of each (N,), in 0 .. len(classes) - 1.
        classes: the class names.
        max_pixels: an image of more is refused.
    """

    reader: Reader
    rows: Rows
    labels: Rows
    classes: tuple[str, ...]
    max_pixels: int = MAX_PIXELS

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """What to call image ``index`` in a message."""
        return self.reader.name(int(self.rows[index]))

    def open(self, index: int) -> Image.Image:
        """Image ``index``, decoded.

        Raises:
            InputError: the image is missing, corrupt, truncated or too large.
        """
        try:
            return self.reader.open(int(self.rows[index]), self.max_pixels)
        except Exception as error:
            # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
            raise InputError(f"cannot read the image {self.name(index)}: {error}") from error

    def size(self, index: int) -> tuple[int, int] | None:
        """(height, width) of image ``index``, not decoded; None where it cannot be read."""
        try:
            return self.reader.size(int(self.rows[index]))
        except Exception:  # see `open`, which says it
            return None

    def take(self, indices: Rows) -> Source:
        """The source of these images only."""
        return replace(self, rows=self.rows[indices], labels=self.labels[indices])

    def relabel(self, classes: Sequence[str]) -> Source:
        """The same images, labelled by the position of their class name in ``classes``.

        Raises:
            InputError: a class that occurs here is not in ``classes``.
        """
        index = {name: i for i, name in enumerate(classes)}
        for label in np.unique(self.labels):
            if self.classes[label] not in index:
                raise InputError(
                    f"class '{self.classes[label]}' (such as {self.name_of_first(label)}) is not "
                    f"among the classes trained on: {', '.join(classes)}"
                )
        places = np.array([index.get(name, -1) for name in self.classes], dtype=np.int64)
        return replace(self, labels=places[self.labels], classes=tuple(classes))

    def name_of_first(self, label: int) -> str:
        """The name of the first image with this label."""
        return self.name(int(np.argmax(self.labels == label)))


def make_source(reader: Reader, labels: Sequence[int] | Rows, classes: Sequence[str]) -> Source:
    """The source of all rows of a reader.

    Raises:
        InputError: a label is not in 0 .. len(classes) - 1.
    """
    labels = np.asarray(labels, dtype=np.int64)
    source = Source(reader, np.arange(len(labels)), labels, tuple(classes))
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise InputError(
            f"label {labels[wrong[0]]} of {source.name(wrong[0])} is out of range: "
            f"there are {len(classes)} classes, so labels go from 0 to {len(classes) - 1}"
        )
    return source
