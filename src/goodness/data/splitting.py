"""Which images are for training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from goodness.data.source import Source
from goodness.errors import InputError, unknown

# Part of what "the validation images of a data set" means: changing it makes results of
# earlier runs incomparable. Never dependent on a run's seed.
SPLIT_SEED = 20240229
TEST_FRACTION = 0.2


class Subset(NamedTuple):
    """Which images of a data set are used."""

    classes: Sequence[str] | None = None
    """The classes, in the order of the labels; None takes all."""
    per_class: int | None = None
    """Training images of each class, drawn by ``seed``; None takes all."""
    seed: int = 0

    def chosen(self, source: Source) -> Source:
        """The images of the chosen classes."""
        if self.classes is None:
            return source
        for name in self.classes:
            if name not in source.classes:
                raise unknown("class", name, source.classes)
        if len(set(self.classes)) < len(self.classes):
            raise InputError(f"classes: one is named twice in {', '.join(self.classes)}")
        wanted = [source.classes.index(name) for name in self.classes]
        return source.take(np.flatnonzero(np.isin(source.labels, wanted))).relabel(self.classes)

    def drawn(self, train: Source) -> Source:
        """``per_class`` training images of each class."""
        if self.per_class is None:
            return train
        draw = np.random.default_rng([SPLIT_SEED, self.seed])
        places = []
        for label, name in enumerate(train.classes):
            found = np.flatnonzero(train.labels == label)
            if len(found) < self.per_class:
                raise InputError(
                    f"per_class: class '{name}' has {len(found)} training images, not"
                    f" {self.per_class}"
                )
            places.append(draw.permutation(found)[: self.per_class])
        return train.take(np.sort(np.concatenate(places)))


def split_parts(
    parts: dict[str, Source],
    val_fraction: float,
    subset: Subset = Subset(),  # noqa: B008
) -> dict[str, Source]:
    """Complete the parts "train", "val" and "test" from the training images.

    A missing test part is a fifth of them; a missing validation part is ``val_fraction`` of
    those that remain; of few images more, so that every class has one there. Every class keeps its
    share in each. Whatever the subset, an image stays in the same part.

    Raises:
        InputError: a class has too few images, ``val_fraction`` is not between 0 and 1, or a
            class of the subset is not there.
    """
    if "train" not in parts:
        raise InputError("the data has no training images: a 'train' part is missing")
    if not 0 < val_fraction < 1:
        raise InputError(f"val_fraction is {val_fraction}; it should lie between 0 and 1")
    train, test, val = parts["train"], parts.get("test"), parts.get("val")
    if test is None:
        train, test = _hold_out(train, TEST_FRACTION, "test")
    if val is None:
        train, val = _hold_out(train, val_fraction, "validation")
    parts = {"train": train, "val": val, "test": test}
    parts = {name: subset.chosen(part) for name, part in parts.items()}
    return {**parts, "train": subset.drawn(parts["train"])}


def _hold_out(source: Source, fraction: float, part: str) -> tuple[Source, Source]:
    """Divide a source into the images kept and a stratified ``fraction`` held out."""
    # Imported here: it takes seconds, and `goodness predict` splits nothing.
    from sklearn.model_selection import train_test_split

    classes, counts = np.unique(source.labels, return_counts=True)
    smallest = int(counts.argmin())
    if counts[smallest] < 2:
        raise InputError(
            f"class '{source.classes[classes[smallest]]}' has 1 image, too few to hold out a "
            f"{part} part: add images, or give the data its own {part} part"
        )
    few = np.ceil(fraction * len(source)) < len(classes)
    try:
        kept, held = train_test_split(
            np.arange(len(source)),
            test_size=len(classes) if few else fraction,
            stratify=source.labels,
            random_state=SPLIT_SEED,
        )
    except ValueError as error:  # fewer images on one side than there are classes
        raise InputError(
            f"{fraction:g} of {len(source)} images is too few for a {part} part with all "
            f"{len(classes)} classes: add images, or give the data its own {part} part"
        ) from error
    return source.take(np.sort(kept)), source.take(np.sort(held))
