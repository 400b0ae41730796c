"""Decoding a source into a split, checking every image once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from goodness.data.images import Pixels, to_pixels
from goodness.data.moments import Moments
from goodness.data.source import Source
from goodness.data.split import LazyImages, Split
from goodness.data.tensors import Prepared
from goodness.data.workers import by_threads
from goodness.errors import InputError
from goodness.memory import available_memory

# Decoded images of a data set up to this size stay in memory, and no more than this share of what
# is free; more are decoded batch by batch.
MEMORY_LIMIT = 4 * 2**30
FREE_SHARE = 0.25
# Statistics of images that would take more are those of so many, spread over them.
STATISTICS_IMAGES = 4096
# Images per task of the thread pool, so that handing tasks out costs little; fewer of large ones.
CHUNK = 64
CHUNK_PIXELS = 2**20
# Tasks beyond one per thread that are decoded ahead of use.
AHEAD = 8


class SeveralSizes(InputError):
    """Two images have different sizes where none was asked for."""

    def __init__(
        self, name: str, shape: tuple[int, ...], other: str, other_shape: tuple[int, ...]
    ) -> None:
        super().__init__(
            f"images have several sizes: {name} is {shape[2]}x{shape[1]}, {other} is "
            f"{other_shape[2]}x{other_shape[1]}; choose one with --image-size"
        )


def read_split(
    source: Source,
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    skip_unreadable: bool = False,
    large: bool = False,
    taken: int = 0,
) -> Split:
    """Decode all images of a source, or of a large one a part.

    Args:
        source: the images and labels.
        channels: 1 or 3; None takes 1 where all images are grey, else 3.
        size: (height, width) to resize to; None expects all images to have one size.
        skip_unreadable: leave unreadable images out instead of raising.
        large: images stay where they are, and their form and statistics are told from some of
            them (see `is_large`); one that cannot be read is found out when it is used. With
            ``skip_unreadable`` all are decoded once.
        taken: bytes of decoded images that other parts keep.

    Raises:
        InputError: an image is unreadable, all are, or they have several sizes.
    """
    if isinstance(source.reader, Prepared):
        return _as_it_is(source, source.reader, channels, size)
    if large and not skip_unreadable:
        return _told_from_some(source, channels, size)
    limit = min(MEMORY_LIMIT, int(FREE_SHARE * (available_memory() + taken))) - taken
    limit = 0 if large else limit
    pixels: Pixels | None = None
    moments: Moments | None = None
    shape = (0, 0, 0)
    kept: list[int] = []
    skipped: list[str] = []
    for index, image in enumerate(_decode(source, channels, size)):
        if isinstance(image, InputError):
            if not skip_unreadable:
                raise InputError(f"{image} (leave such files out with --skip-unreadable)")
            skipped.append(source.name(index))
            continue
        if kept and image.shape[1:] != shape[1:]:
            raise SeveralSizes(source.name(kept[0]), shape, source.name(index), image.shape)
        if image.shape[0] > shape[0]:
            shape = image.shape
            pixels, moments = _make_room(pixels, moments, len(source), len(kept), shape, limit)
        if pixels is not None:
            pixels[len(kept)] = image  # a grey image fills all channels
        elif moments is not None:
            # Now, as these images are not kept: later they would have to be decoded again.
            moments.add(image)
        kept.append(index)
    if not kept:
        raise InputError(f"none of the {len(skipped)} images could be read, such as {skipped[0]}")
    source = source.take(np.array(kept))
    labels = torch.from_numpy(source.labels)
    if pixels is None:
        return Split(LazyImages(source, shape), labels, skipped, moments, source.name)
    return Split(torch.from_numpy(pixels[: len(kept)]), labels, skipped, names=source.name)


def is_large(sources: Iterable[Source], size: tuple[int, int] | None) -> bool:
    """Whether decoding all images once would take too long: they are more than `MEMORY_LIMIT`.

    Told from the data alone, as statistics depend on it, which are the same on every machine.

    Args:
        sources: all parts of a data set.
        size: (height, width) that images are brought to; None: that of the first one.
    """
    total = 0
    for source in sources:
        if isinstance(source.reader, Prepared):
            return False
        height, width = size or source.size(0) or (1, 1)
        total += len(source) * 3 * height * width
    return total > MEMORY_LIMIT


def _told_from_some(source: Source, channels: int | None, size: tuple[int, int] | None) -> Split:
    """A split of images that stay where they are; others than these are brought to their form."""
    labels = torch.from_numpy(source.labels)
    if channels is not None and size is not None:
        return Split(LazyImages(source, (channels, *size)), labels, [], names=source.name)
    count = min(len(source), STATISTICS_IMAGES)
    some = source.take(np.linspace(0, len(source) - 1, count).astype(np.int64))
    moments, first = Moments(), some.name(0)
    shape: tuple[int, ...] = (0, 0, 0)
    for index, image in enumerate(_decode(some, channels, size)):
        if isinstance(image, InputError):
            raise InputError(f"{image} (leave such files out with --skip-unreadable)")
        if index and image.shape[1:] != shape[1:]:
            raise SeveralSizes(first, shape, some.name(index), image.shape)
        shape = max(shape, image.shape)
        moments.add(image)
    channels, height, width = shape
    images = LazyImages(source, (channels, height, width))
    return Split(images, labels, [], moments, source.name)


def _as_it_is(
    source: Source, reader: Prepared, channels: int | None, size: tuple[int, int] | None
) -> Split:
    """Images that are tensors already, and have the form that is wanted."""
    own = reader.shape
    wanted = (own[0] if channels is None else channels, *(own[1:] if size is None else size))
    if own != wanted:
        raise InputError(
            f"{source.name(0)} has the shape {own}, and {wanted} is needed: tensors are taken as"
            " they are (resize them before; arrays of uint8 and Pillow images are resized here)"
        )
    return reader.split(source)


def _decode(
    source: Source, channels: int | None, size: tuple[int, int] | None
) -> Iterator[Pixels | InputError]:
    """Every image of a source in order, or the error it gave; threads, as Pillow frees the GIL.

    Few are decoded ahead of use, so that memory does not grow with the number of images.
    """

    def decode(index: int) -> Pixels | InputError:
        try:
            return to_pixels(source.open(index), channels, size)
        except InputError as error:
            return error

    height, width = size or source.size(0) or (1, 1)
    chunk = min(CHUNK, max(1, CHUNK_PIXELS // (height * width)))

    def decode_chunk(start: int) -> list[Pixels | InputError]:
        return [decode(index) for index in range(start, min(start + chunk, len(source)))]

    for images in by_threads(decode_chunk, range(0, len(source), chunk), ahead=AHEAD):
        yield from images


def _make_room(
    pixels: Pixels | None,
    moments: Moments | None,
    count: int,
    done: int,
    shape: tuple[int, int, int],
    limit: int,
) -> tuple[Pixels | None, Moments | None]:
    """Room for ``count`` images of this shape, the grey ones so far copied; sums if too much."""
    if count * math.prod(shape) <= limit:
        if pixels is None:
            return np.empty((count, *shape), dtype=np.uint8), None
        return np.repeat(pixels, shape[0], axis=1), None
    if moments is None:
        moments = Moments()
        if pixels is not None:
            moments.add(pixels[:done])
    return None, moments
