"""Decoding a source into a split, checking every image once."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from goodness.data.images import Pixels, to_pixels
from goodness.data.source import Source
from goodness.data.split import LazyImages, Split
from goodness.errors import InputError

# Decoded images of a split up to this size stay in memory; more are decoded batch by batch.
MEMORY_LIMIT = 4 * 2**30
# Images per task of the thread pool, so that handing tasks out costs little.
CHUNK = 64


def read_split(
    source: Source,
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    skip_unreadable: bool = False,
) -> Split:
    """Decode all images of a source.

    Args:
        source: the images and labels.
        channels: 1 or 3; None takes 1 where all images are grey, else 3.
        size: (height, width) to resize to; None expects all images to have one size.
        skip_unreadable: leave unreadable images out instead of raising.

    Raises:
        InputError: an image is unreadable, all are, or they have several sizes.
    """
    pixels: Pixels | None = None
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
            raise several_sizes(source.name(kept[0]), shape, source.name(index), image.shape)
        if image.shape[0] > shape[0]:
            shape = image.shape
            pixels = _widen(pixels, len(source), shape)
        if pixels is not None:
            pixels[len(kept)] = image  # a grey image fills all channels
        kept.append(index)
    if not kept:
        raise InputError(f"none of the {len(skipped)} images could be read, such as {skipped[0]}")
    source = source.take(np.array(kept))
    labels = torch.from_numpy(source.labels)
    if pixels is None:
        return Split(LazyImages(source, shape), labels, skipped)
    return Split(torch.from_numpy(pixels[: len(kept)]), labels, skipped)


def several_sizes(
    name: str, shape: tuple[int, ...], other: str, other_shape: tuple[int, ...]
) -> InputError:
    """The error for two images (C, H, W) of different size where none was asked for."""
    return InputError(
        f"images have several sizes: {name} is {shape[2]}x{shape[1]}, {other} is "
        f"{other_shape[2]}x{other_shape[1]}; choose one with --image-size"
    )


def _decode(
    source: Source, channels: int | None, size: tuple[int, int] | None
) -> Iterator[Pixels | InputError]:
    """Every image of a source in order, or the error it gave; threads, as Pillow frees the GIL."""

    def decode(index: int) -> Pixels | InputError:
        try:
            return to_pixels(source.open(index), channels, size)
        except InputError as error:
            return error

    def decode_chunk(start: int) -> list[Pixels | InputError]:
        return [decode(index) for index in range(start, min(start + CHUNK, len(source)))]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for images in pool.map(decode_chunk, range(0, len(source), CHUNK)):
            yield from images


def _widen(pixels: Pixels | None, count: int, shape: tuple[int, int, int]) -> Pixels | None:
    """Room for ``count`` images of this shape, the grey ones so far copied; None if too much."""
    if count * math.prod(shape) > MEMORY_LIMIT:
        return None
    if pixels is None:
        return np.empty((count, *shape), dtype=np.uint8)
    return np.repeat(pixels, shape[0], axis=1)
