"""The data sets known by name: embedded in scikit-learn, or downloaded by torchvision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from goodness.data.folder import read_class_folders
from goodness.data.source import Arrays, Source, make_source
from goodness.errors import InputError

DIGITS = [str(digit) for digit in range(10)]
PARTS = ("train", "test")


def read_named(name: str, root: Path) -> dict[str, Source]:
    """The parts of a known data set; torchvision's are downloaded into ``root`` on first use.

    Raises:
        InputError: the files are not there and could not be downloaded.
    """
    if name == "digits":
        return _digits()
    read = _READERS[name]
    try:
        parts = {part: read(root, part) for part in PARTS}
    except InputError:
        raise
    except _OF_TORCHVISION as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"cannot fetch '{name}' ({why}); put its files into '{root}' as torchvision lays "
            f"them out, or train-*.parquet and test-*.parquet into '{root / name}'"
        ) from error
    if len(parts["train"]) < len(parts["test"]):
        raise InputError(
            f"'{name}' in '{root}' has {len(parts['train'])} training images and"
            f" {len(parts['test'])} for the test: its files have each other's names"
        )
    return parts


_OF_TORCHVISION = (
    *(OSError, RuntimeError),  # a download that fails
    *(ValueError, AssertionError, LookupError, EOFError, TypeError, UnpicklingError),
)
"""What torchvision raises; of files that are damaged it asserts, or reads on."""


# scikit-learn and torchvision are imported where they are used: each takes seconds, and a folder
# or a Parquet file does without them.


def _digits() -> dict[str, Source]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return {"train": make_source(Arrays("digits", pixels), bunch.target, DIGITS)}


def _mnist(root: Path, part: str) -> Source:
    from torchvision.datasets import MNIST

    data = MNIST(root, train=part == "train", download=True)
    # torchvision calls the classes "0 - zero", where the Parquet files of the hub say "0".
    return _of_idx("mnist", data, DIGITS)


def _fashion_mnist(root: Path, part: str) -> Source:
    from torchvision.datasets import FashionMNIST

    data = FashionMNIST(root, train=part == "train", download=True)
    return _of_idx("fashion_mnist", data, data.classes)


def _of_idx(name: str, data: Any, classes: Sequence[str]) -> Source:
    """Images and labels of IDX files, which have no checksum.

    Raises:
        ValueError: they are others than their names say.
    """
    images, labels = np.asarray(data.data), np.asarray(data.targets)
    if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise ValueError(f"images of shape {images.shape} with labels of {labels.shape}")
    if not images.size:
        raise ValueError("there are no images in the files")
    return make_source(Arrays(name, images), labels, classes)


def _cifar10(root: Path, part: str) -> Source:
    from torchvision.datasets import CIFAR10

    data = CIFAR10(root, train=part == "train", download=True)
    return make_source(Arrays("cifar10", data.data), data.targets, data.classes)


def _cifar100(root: Path, part: str) -> Source:
    from torchvision.datasets import CIFAR100

    data = CIFAR100(root, train=part == "train", download=True)
    return make_source(Arrays("cifar100", data.data), data.targets, data.classes)


def _svhn(root: Path, part: str) -> Source:
    from torchvision.datasets import SVHN

    data = SVHN(root, split=part, download=True)
    return make_source(Arrays("svhn", data.data.transpose(0, 2, 3, 1)), data.labels, DIGITS)


def _imagenette(root: Path, part: str) -> Source:
    from torchvision.datasets import Imagenette

    split = "train" if part == "train" else "val"  # the only held-out images it has
    data = Imagenette(root, split=split, size="160px", download=True)
    # Read from the folder torchvision unpacked, so that images are opened one at a time.
    source = read_class_folders(root / "imagenette2-160" / split)
    return replace(source, classes=tuple(names[0] for names in data.classes))


_READERS: dict[str, Callable[[Path, str], Source]] = {
    "mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn": _svhn,
    "imagenette": _imagenette,
}
