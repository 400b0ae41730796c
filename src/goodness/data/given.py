"""Data that a program gives: arrays, and torch data sets and loaders.

Arrays of pixels, and data sets that give Pillow images, are read as files are. All else is taken as
it comes: tensors (C, H, W) with any number of channels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)
from torch.utils.data import Dataset as TorchDataset

from goodness.data.catalogue import GIVEN_NAMES
from goodness.data.locating import NAMES, Located
from goodness.data.parquet import UNSEEN
from goodness.data.source import Arrays, Source, make_source
from goodness.data.tensors import Items, Tensors, as_image, as_images
from goodness.errors import InputError, unknown

GivenPart: TypeAlias = tuple[Any, Any] | TorchDataset[Any] | DataLoader[Any]
"""Images with labels: arrays ``(images, labels)``, a map-style data set, or a loader of one."""
Given: TypeAlias = GivenPart | Mapping[str, GivenPart]
"""One part, of which validation and test are held out; or parts by name, "train", "val", "test"."""
_LOCK = threading.Lock()
"""Nobody says that a data set may be asked by several threads at once."""
ORDER = "the order and the batches are the run's own, so that it can be resumed exactly"


@dataclass(frozen=True)
class PillowItems:
    """Reads the Pillow images of a data set."""

    dataset: TorchDataset[Any]

    def name(self, row: int) -> str:
        """The row."""
        return f"item {row} of the data set"

    def open(self, row: int, max_pixels: int) -> Image.Image:
        """The image of the row, of any size: the program that gives it has opened it."""
        return self._image(row)

    def size(self, row: int) -> tuple[int, int]:
        """That of the image, which may have to be decoded for it."""
        image = self._image(row)
        return image.height, image.width

    def _image(self, row: int) -> Image.Image:
        with _LOCK:
            return cast(Image.Image, self.dataset[row][0])


def kind_of(data: Any) -> str:
    """What to call data that a program gives, see `GIVEN_NAMES`."""
    parts = data.values() if isinstance(data, Mapping) else [data]
    arrays = all(isinstance(part, tuple | list) for part in parts)
    return GIVEN_NAMES[0] if arrays else GIVEN_NAMES[1]


def batch_size_of(data: Any) -> int | None:
    """The batch size of a loader that is to be trained on."""
    part = data.get("train") if isinstance(data, Mapping) else data
    return part.batch_size if isinstance(part, DataLoader) else None


def locate_given(data: Any) -> Located:
    """The parts of what a program gives.

    Args:
        data: images with labels, or a mapping of such by part, "train", "val" and "test".

    Raises:
        InputError: it is something else, or images or labels have the wrong form.
    """
    name = kind_of(data).partition("/")[2]
    if not isinstance(data, Mapping):
        return Located(name, {"train": _source(data, "the data")}, flat=True)
    by_name = {alias: part for part, aliases in NAMES.items() for alias in aliases}
    parts = {}
    for key, part in data.items():
        if key not in by_name:
            raise unknown("part of the data", key, NAMES)
        parts[by_name[key]] = _source(part, f"data '{key}'")
    if not parts:
        raise InputError("the data has no parts")
    return Located(name, parts)


def _source(part: Any, what: str) -> Source:
    if isinstance(part, DataLoader):
        return _of_loader(part, what)
    if isinstance(part, IterableDataset):
        raise InputError(
            f"{what} is an IterableDataset, which cannot be asked for any image; {ORDER} (use a"
            " map-style Dataset, with __len__ and __getitem__)"
        )
    if isinstance(part, TensorDataset):
        part = part.tensors[:2]
    if isinstance(part, tuple | list) and len(part) == 2:
        return _of_arrays(part[0], part[1], what)
    if hasattr(part, "__len__") and hasattr(part, "__getitem__") and not _is_array(part):
        return _of_dataset(part, what)
    raise InputError(
        f"{what} is of type {type(part).__name__}: a name, a folder, arrays (images, labels), a"
        " torch Dataset or DataLoader of images with labels is needed"
    )


def _is_array(part: Any) -> bool:
    return isinstance(part, np.ndarray | Tensor | tuple | list | dict | str | bytes)


def _of_arrays(images: Any, labels: Any, what: str) -> Source:
    given = as_images(images, what)
    classes, indices = _classes(labels, what)
    if len(indices) != len(given):
        raise InputError(f"{what}: {len(given)} images, but {len(indices)} labels")
    if not len(given):
        raise InputError(f"{what}: there are no images")
    if given.dtype == torch.uint8 and given.shape[1] in (1, 3):
        pixels = given[:, 0] if given.shape[1] == 1 else given.permute(0, 2, 3, 1)
        return make_source(Arrays(what, pixels.contiguous().numpy()), indices, classes)
    return make_source(Tensors(what, given), indices, classes)


def _of_loader(loader: DataLoader[Any], what: str) -> Source:
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset):
        return _source(dataset, what)
    sampler = loader.sampler
    plain = isinstance(sampler, SequentialSampler) or (
        isinstance(sampler, RandomSampler)
        and not sampler.replacement
        and sampler.num_samples == len(dataset)  # type: ignore[arg-type]
    )
    if not plain or loader.batch_size is None:
        kind = type(sampler if loader.batch_size is not None else loader.batch_sampler).__name__
        raise InputError(
            f"{what} is a DataLoader with a {kind}, which a run cannot follow: {ORDER} (for some of"
            " the images give a torch.utils.data.Subset; for rare classes class_weights='balanced')"
        )
    collate = None if loader.collate_fn is default_collate else loader.collate_fn
    return _of_dataset(dataset, what, collate, loader.num_workers)


def _of_dataset(
    dataset: TorchDataset[Any],
    what: str,
    collate: Callable[[list[Any]], Any] | None = None,
    num_workers: int = 0,
) -> Source:
    if isinstance(dataset, TensorDataset) and collate is None:
        return _source(dataset, what)
    count = len(dataset)  # type: ignore[arg-type]
    if not count:
        raise InputError(f"{what}: there are no images")
    first = dataset[0]
    if not isinstance(first, tuple | list) or len(first) < 2:
        raise InputError(
            f"{what}: item 0 is of type {type(first).__name__}; (image, label) is needed"
        )
    named = _named_classes(dataset)
    if collate is None and isinstance(first[0], Image.Image):
        classes, labels = _classes(_labels_of(dataset, count), what, named)
        return make_source(PillowItems(dataset), labels, classes)
    if collate is None:
        as_image(first[0], f"{what}, item 0")  # an error of its own kind before all are read
    items = Items(what, dataset, collate, num_workers)
    classes, labels = _classes(items.read(), what, named)
    return make_source(items, labels, classes)


def _labels_of(dataset: Any, count: int) -> Sequence[Any]:
    """Of every item; from ``targets``, as torchvision's data sets have them, without decoding."""
    targets = getattr(dataset, "targets", None)
    if getattr(dataset, "target_transform", None) is None and targets is not None:
        return cast(Sequence[Any], targets)
    return [dataset[row][1] for row in range(count)]


def _named_classes(dataset: Any) -> list[str] | None:
    """The class names that a data set, or the one that it is a part of, has."""
    while not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def _classes(
    labels: Any, what: str, named: list[str] | None = None
) -> tuple[list[str], NDArray[np.int64]]:
    """The class names and the labels as their numbers (N,)."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    found = np.asarray([item.item() if isinstance(item, Tensor) else item for item in labels])
    if found.ndim != 1 or found.dtype.kind not in "iuUS":
        raise InputError(
            f"{what}: labels are of shape {found.shape}, {found.dtype}; (N,) numbers from 0 or"
            " names of classes are needed"
        )
    if found.dtype.kind in "US":
        names, indices = np.unique(found.astype(str), return_inverse=True)
        return names.tolist(), indices.astype(np.int64)
    if len(found) and found.min() < 0:
        raise InputError(f"{what}: label {found.min()} of image {found.argmin()} is below 0")
    highest = int(found.max(initial=0))
    if named is not None and highest < len(named):
        return named, found.astype(np.int64)
    if highest > len(found) + UNSEEN:
        raise InputError(f"{what}: label {highest} is far above the number of images")
    return [str(label) for label in range(highest + 1)], found.astype(np.int64)
