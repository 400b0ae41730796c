"""The data sets known by name, and where names are looked up; kept free of torch."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from goodness.files import at_home


@dataclass(frozen=True)
class Entry:
    """One data set known by name; ``size`` is height x width x channels."""

    name: str
    title: str
    classes: int
    size: str
    source: str


GIVEN_NAMES = ("given/arrays", "given/dataset")
"""What data is called that a program gave."""
HUB = "hf"
"""Data sets of the Hugging Face hub are called ``hf/NAME``."""

CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry("digits", "Handwritten digits of scikit-learn", 10, "8x8x1", "scikit-learn"),
        Entry("mnist", "MNIST handwritten digits", 10, "28x28x1", "torchvision"),
        Entry("fashion_mnist", "Fashion-MNIST articles of clothing", 10, "28x28x1", "torchvision"),
        Entry("cifar10", "CIFAR-10 natural images", 10, "32x32x3", "torchvision"),
        Entry("cifar100", "CIFAR-100 natural images", 100, "32x32x3", "torchvision"),
        Entry("svhn", "Street View House Numbers", 10, "32x32x3", "torchvision"),
        Entry("imagenette", "Ten easy classes of ImageNet", 10, "varying x3", "torchvision"),
    )
}


def data_names() -> list[dict[str, str | int]]:
    """The known data sets, each as ``{name, title, classes, size, source}``."""
    return [asdict(entry) for entry in CATALOGUE.values()]


def data_root(root: str | Path | None) -> Path:
    """The folder names are looked up in: ``root``, else $GOODNESS_DATA, else ~/.cache/goodness."""
    return at_home(root or os.environ.get("GOODNESS_DATA") or "~/.cache/goodness")
