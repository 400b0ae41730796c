"""What tells the images of a run from others: which, in which classes, in which order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from goodness.data.source import Files, Source
from goodness.results import Record

if TYPE_CHECKING:
    from goodness.data.split import Split

CONTENT_BYTES = 512 * 2**20
"""Images are hashed whole up to so many bytes; of more data every n-th image is."""
TOLD = 3
"""So many changes are told."""


@runtime_checkable
class Stored(Protocol):
    """A reader whose images can be read as they are kept, without decoding them."""

    def stored_size(self, row: int) -> int:
        """The bytes that an image takes."""

    def stored(self, row: int) -> bytes:
        """These bytes."""


@dataclass(frozen=True)
class ClassImages(Record):
    """A class in one part of the data as it is kept."""

    images: int
    content: str
    """Of their bytes, in whatever order."""
    order: str
    """Of their file names, without folders, and their bytes in order."""


@dataclass(frozen=True)
class SplitImages(Record):
    """A part as it is trained, validated or tested on."""

    images: int
    order: str
    """Of its labels, and of where each image is in the data."""
    digest: str | None = None
    """Of labels and pixels, where images are not files, rows or arrays."""


@dataclass(frozen=True)
class Fingerprint(Record):
    """Of a data set; see `fingerprint`."""

    classes: list[str]
    """In the order of the labels."""
    every: int = 1
    """The content of every n-th image is looked at; of the others their sizes."""
    parts: dict[str, dict[str, ClassImages]] = field(default_factory=dict)
    """By part as the data has it, and by class."""
    splits: dict[str, SplitImages] = field(default_factory=dict)
    """By part as the run has it."""


def fingerprint(
    parts: Mapping[str, Source], sources: Mapping[str, Source], splits: Mapping[str, Split]
) -> Fingerprint:
    """The fingerprint of a data set. No time and no folder is in it: data may be copied and moved.

    Args:
        parts: as the data has them, with the classes that are used.
        sources: of the splits.
        splits: as they are read, without images that were left out.
    """
    kept = {part: source for part, source in parts.items() if isinstance(source.reader, Stored)}
    sizes = {part: _sizes(source) for part, source in kept.items()}
    total = sum(int(size.sum()) for size in sizes.values())
    every = max(1, -(-total // CONTENT_BYTES))
    return Fingerprint(
        classes=list(sources["train"].classes),
        every=every,
        parts={part: _by_class(source, sizes[part], every) for part, source in kept.items()},
        splits={name: _split(parts, sources[name], split) for name, split in splits.items()},
    )


def changes(before: Fingerprint, now: Fingerprint) -> str:
    """What of the data has changed, in words; empty where nothing has."""
    if before == now:
        return ""
    told = [*_renamed(before, now), *_in_classes(before, now)]
    if not told and before.classes != now.classes:
        told.append("the classes are in another order")
    if not told:
        told = _in_splits(before, now)
    more = f"; and {len(told) - TOLD} more changes" if len(told) > TOLD else ""
    return "; ".join(told[:TOLD]) + more


def _sizes(source: Source) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    reader = source.reader
    assert isinstance(reader, Stored)

    def size(row: int) -> int:
        try:
            return reader.stored_size(row)
        except (OSError, ValueError):  # one that cannot be read is left out, or said elsewhere
            return 0

    return np.fromiter(map(size, source.rows.tolist()), np.int64, len(source))


def _by_class(
    source: Source, sizes: np.ndarray[tuple[int], np.dtype[np.int64]], every: int
) -> dict[str, ClassImages]:
    reader, named = source.reader, isinstance(source.reader, Files)
    assert isinstance(reader, Stored)
    found = {}
    for label in np.unique(source.labels).tolist():
        places = np.flatnonzero(source.labels == label)
        images, order = [], hashlib.sha256()
        for number, place in enumerate(places.tolist()):
            row = int(source.rows[place])
            image = b"%d " % sizes[place]
            if number % every == 0:
                image += _content(reader, row)
            images.append(image)
            name = os.path.basename(source.name(place)) if named else ""
            order.update(f"{name}\n".encode(errors="surrogateescape") + image)
        content = hashlib.sha256(b"\n".join(sorted(images)))
        found[source.classes[label]] = ClassImages(
            len(places), content.hexdigest()[:16], order.hexdigest()[:16]
        )
    return found


def _content(reader: Stored, row: int) -> bytes:
    try:
        return hashlib.sha256(reader.stored(row)).digest()
    except (OSError, ValueError):
        return b"unreadable"


def _split(parts: Mapping[str, Source], source: Source, split: Split) -> SplitImages:
    whole = next(part for part in parts.values() if part.reader is source.reader)
    # Counted within its class, an image's place does not change with classes that are not used.
    places = np.zeros(whole.rows.max() + 1, np.int64)
    for label in np.unique(whole.labels):
        rows = whole.rows[whole.labels == label]
        places[rows] = np.arange(len(rows))
    seen = (places[source.rows], source.labels, split.labels.numpy())
    order = hashlib.sha256(b"".join(each.tobytes() for each in seen))
    digest = None if isinstance(source.reader, Stored) else split.digest()
    return SplitImages(len(split), order.hexdigest()[:16], digest)


# What has changed.


def _of_class(data: Fingerprint, name: str) -> dict[str, ClassImages]:
    return {part: classes[name] for part, classes in data.parts.items() if name in classes}


def _content_of(data: Fingerprint, name: str) -> tuple[tuple[str, int, str], ...]:
    return tuple((part, c.images, c.content) for part, c in _of_class(data, name).items())


def _renamed(before: Fingerprint, now: Fingerprint) -> list[str]:
    """Of classes that came and went."""
    gone = [name for name in before.classes if name not in now.classes]
    new = [name for name in now.classes if name not in before.classes]
    told = []
    for name in gone:
        same = [other for other in new if _content_of(now, other) == _content_of(before, name)]
        if same and _content_of(before, name):
            new.remove(same[0])
            told.append(f"class '{name}' is now called '{same[0]}'")
        else:
            told.append(f"class '{name}' is gone")
    return told + [f"class '{name}' is new" for name in new]


def _in_classes(before: Fingerprint, now: Fingerprint) -> list[str]:
    """Of the images of classes that are there as before."""
    names = [name for name in before.classes if name in now.classes]
    differ = [name for name in names if _of_class(before, name) != _of_class(now, name)]
    told: list[str] = []
    traded: set[str] = set()
    for name in differ:
        if name in traded:
            continue
        for other in differ:
            both = _content_of(before, name), _content_of(before, other)
            if other != name and both == (_content_of(now, other), _content_of(now, name)):
                traded |= {name, other}
                told.append(f"classes '{name}' and '{other}' have traded their images")
    rest = [name for name in differ if name not in traded]
    return told + [_in_class(name, _of_class(before, name), _of_class(now, name)) for name in rest]


def _in_class(name: str, before: dict[str, ClassImages], now: dict[str, ClassImages]) -> str:
    for part in {**before, **now}:
        had, has = before.get(part), now.get(part)
        if had == has:
            continue
        where = f"class '{name}' in '{part}'"
        if had is None or has is None or had.images != has.images:
            counts = [0 if each is None else each.images for each in (had, has)]
            return f"{where} had {counts[0]} images, here are {counts[1]}"
        if had.content != has.content:
            return f"{where} has other images than before"
        return f"{where} has its images under other names or in another order"
    raise AssertionError("nothing differs")


def _in_splits(before: Fingerprint, now: Fingerprint) -> list[str]:
    told = []
    for name, has in now.splits.items():
        had = before.splits.get(name, has)
        if had.images != has.images:
            told.append(f"its {name} part had {had.images} images, here are {has.images}")
        elif had != has:
            told.append(f"its {name} part had other images or labels, or another order")
    return told or ["its parts are others"]
