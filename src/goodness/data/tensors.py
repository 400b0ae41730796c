"""Images that come as tensors or arrays, and are taken as they are."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from goodness.data.images import to_pixels
from goodness.data.moments import Moments
from goodness.data.source import Source
from goodness.data.split import Split, StoredImages
from goodness.data.workers import read_batches
from goodness.errors import InputError
from goodness.seeds import mix

FORMS = "uint8 or floats are needed"
READ_BATCH = 64
Collate = Callable[[list[Any]], Any]


def as_image(value: Any, what: str) -> Tensor:
    """One image as uint8 or float32 (C, H, W).

    Args:
        value: a Pillow image, a tensor (C, H, W) or (H, W), or an array (H, W, C) or (H, W).
        what: its name, for errors.

    Raises:
        InputError: it has another form.
    """
    if isinstance(value, Image.Image):
        return torch.tensor(to_pixels(value))
    return as_images(_one(value, what)[None], what)[0]


def as_images(value: Any, what: str) -> Tensor:
    """Several images as uint8 or float32 (N, C, H, W).

    Tensors are (N, C, H, W), and arrays (N, H, W, C), unless only the other order gives 1 or 3
    channels; (N, H, W) is grey.

    Raises:
        InputError: they have another form.
    """
    array = not isinstance(value, Tensor)
    try:
        # Of an array that is not to be written to a copy: torch has no such tensors.
        given = np.require(value, requirements=("C", "W")) if array else value
        images = torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise InputError(f"{what}: images of type {kind} are no array of numbers") from None
    if images.dtype not in (torch.uint8, *FLOATS):
        raise InputError(f"{what}: images are {images.dtype}; {FORMS}")
    if images.dim() not in (3, 4) or 0 in images.shape[1:]:
        raise InputError(
            f"{what}: images are of shape {tuple(images.shape)}; (N, C, H, W) is needed"
        )
    if images.dim() == 3:
        images = images[:, None]
    else:
        first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
        if (last and not first) or (first == last and array):
            images = images.permute(0, 3, 1, 2)
    if images.dtype == torch.uint8:
        return images
    images = images.float()
    if not torch.isfinite(images).all():
        raise InputError(f"{what}: images hold NaN or infinity")
    return images


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _one(value: Any, what: str) -> Any:
    """An array or tensor of one image, as one of a batch."""
    if not isinstance(value, np.ndarray | Tensor) or value.ndim not in (2, 3):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise InputError(
            f"{what} is a {type(value).__name__}{shape}; an image (C, H, W) is needed, or a Pillow"
            " image"
        )
    return value


@runtime_checkable
class Prepared(Protocol):
    """Reads images that are tensors already."""

    shape: tuple[int, int, int]
    """(C, H, W) of each."""

    def split(self, source: Source) -> Split:
        """The images of a source."""


def _no_pillow() -> NoReturn:
    raise ValueError("it is no Pillow image")


@dataclass(frozen=True)
class Tensors:
    """Images in memory, (N, C, H, W)."""

    title: str
    images: Tensor

    def name(self, row: int) -> str:
        """The title and the row."""
        return f"{self.title} image {row}"

    def open(self, row: int, max_pixels: int) -> Image.Image:
        """None of them is a Pillow image."""
        _no_pillow()

    def size(self, row: int) -> tuple[int, int]:
        """That of all of them."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def split(self, source: Source) -> Split:
        """The images of a source."""
        whole = len(source) == len(self.images)
        rows = torch.from_numpy(source.rows)
        images = self.images if whole else self.images[rows]
        return Split(images, torch.from_numpy(source.labels), [], names=source.name)


class Items:
    """A map-style data set whose items are tensors or arrays with labels; they are not kept.

    Its random transforms draw from torch's, numpy's and Python's default generators, which are
    seeded for every item by the order of the images and its place in it. So a run that is resumed
    draws the same.

    Args:
        title: what to call it.
        dataset: gives (image, label).
        collate: makes a batch (images, labels) of a list of items; None stacks them.
        num_workers: processes that read it once, ahead of training.
    """

    def __init__(
        self,
        title: str,
        dataset: TorchDataset[Any],
        collate: Collate | None = None,
        num_workers: int = 0,
    ) -> None:
        self.title, self.dataset, self.collate = title, dataset, collate
        self.num_workers = num_workers
        self.shape = (0, 0, 0)
        self.dtype = torch.uint8
        self._sums = torch.empty(0)

    def name(self, row: int) -> str:
        """The title and the row."""
        return f"{self.title} item {row}"

    def open(self, row: int, max_pixels: int) -> Image.Image:
        """None of them is a Pillow image."""
        _no_pillow()

    def size(self, row: int) -> tuple[int, int]:
        """That of all of them."""
        return self.shape[1:]

    def read(self) -> list[Any]:
        """Ask for every item once: the labels, and what the images are like.

        Raises:
            InputError: images differ in shape or type.
        """
        labels: list[Any] = []
        sums: list[Tensor] = []
        count = len(self.dataset)  # type: ignore[arg-type]
        for images, own in self.load(torch.arange(count).split(READ_BATCH), self.num_workers):
            form = images.shape[1:], images.dtype
            if not labels:
                channels, height, width = images.shape[1:]
                self.shape, self.dtype = (channels, height, width), images.dtype
            if form != (self.shape, self.dtype):
                raise InputError(
                    f"{self.name(len(labels))} has the form {tuple(form[0])}, {form[1]}, and item 0"
                    f" {self.shape}, {self.dtype}: all need one (a transform of the data set can"
                    " see to it)"
                )
            values = images.to(torch.float64).flatten(2)
            of_each = values.sum(2), values.square().sum(2), values.amin(2), values.amax(2)
            sums.append(torch.stack(of_each, 1))
            labels += list(own)
        self._sums = torch.cat(sums)  # (N, 4, C)
        return labels

    def load(
        self, rows: Sequence[Tensor], num_workers: int, pin_memory: bool = False, start: int = 0
    ) -> Iterator[tuple[Tensor, Sequence[Any]]]:
        """Images (n, C, H, W) and labels of batches of rows, without the first ``start``."""
        order = torch.cat(list(rows)).numpy().tobytes()
        seed = int.from_bytes(hashlib.blake2b(order, digest_size=7).digest(), "big")
        places, done = [], 0
        for batch in rows:
            places.append([(done + n, row) for n, row in enumerate(batch.tolist())])
            done += len(batch)
        return read_batches(
            _Seeded(self.dataset, seed),
            places[start:],
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate=_Collated(self.title, self.collate),
        )

    def split(self, source: Source) -> Split:
        """The images of a source."""
        rows = torch.from_numpy(source.rows)
        total, squares, lowest, highest = self._sums[rows].unbind(1)
        moments = Moments()
        moments.total, moments.squares = total.sum(0).numpy(), squares.sum(0).numpy()
        moments.lowest, moments.highest = lowest.min().item(), highest.max().item()
        moments.count = len(rows) * self.shape[1] * self.shape[2]
        labels = torch.from_numpy(source.labels)
        return Split(_ItemsOf(self, rows), labels, [], moments, source.name)


class _ItemsOf(StoredImages):
    """Some rows of `Items`."""

    def __init__(self, items: Items, rows: Tensor) -> None:
        self.shape, self.dtype = items.shape, items.dtype
        self._items, self._rows = items, rows

    def identity(self) -> bytes:
        """Their form and rows: what they look like may differ from one time to the next."""
        return f"{self.shape} {self.dtype} {self._rows.tolist()}".encode()

    def batches(
        self, rows: Sequence[Tensor], num_workers: int, pin_memory: bool, start: int
    ) -> Iterator[Tensor]:
        """See `StoredImages`."""
        wanted = [self._rows[batch] for batch in rows]
        for images, _ in self._items.load(wanted, num_workers, pin_memory, start):
            yield images


class _Seeded(TorchDataset[Any]):
    """A data set that is asked for (place, row), with generators that belong to the place."""

    def __init__(self, dataset: TorchDataset[Any], seed: int) -> None:
        self._dataset, self._seed = dataset, seed

    def __getitem__(self, index: tuple[int, int]) -> Any:
        place, row = index
        seed = mix(self._seed, "item", place)
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        return self._dataset[row]


class _Collated:
    """Items as a batch of images and their labels; a class, so that worker processes know it."""

    def __init__(self, title: str, collate: Collate | None) -> None:
        self._title, self._collate = title, collate

    def __call__(self, items: list[Any]) -> tuple[Tensor, Any]:
        if self._collate is not None:
            images, labels = self._collate(items)[:2]
            return as_images(images, f"{self._title}: a batch of its collate_fn"), labels
        images = [as_image(item[0], f"{self._title}: an image") for item in items]
        if len({(image.shape, image.dtype) for image in images}) > 1:
            shapes = sorted({str(tuple(image.shape)) for image in images})
            raise InputError(
                f"{self._title}: images differ in shape or type ({', '.join(shapes)}); all need one"
                " (a transform of the data set can see to it)"
            )
        return torch.stack(images), [item[1] for item in items]
