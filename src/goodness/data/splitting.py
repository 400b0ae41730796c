"""Which images are for training, validation and test; never dependent on a run's seed."""

from __future__ import annotations

import numpy as np

from goodness.data.source import Source
from goodness.errors import InputError

# Part of what "the validation images of a data set" means: changing it makes results of
# earlier runs incomparable.
SPLIT_SEED = 20240229
TEST_FRACTION = 0.2


def split_parts(parts: dict[str, Source], val_fraction: float) -> dict[str, Source]:
    """Complete the parts "train", "val" and "test" from the training images.

    A missing test part is a fifth of them; a missing validation part is ``val_fraction`` of
    those that remain. Every class keeps its share in each.

    Raises:
        InputError: a class has too few images, or ``val_fraction`` is not between 0 and 1.
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
    return {"train": train, "val": val, "test": test}


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
    try:
        kept, held = train_test_split(
            np.arange(len(source)),
            test_size=fraction,
            stratify=source.labels,
            random_state=SPLIT_SEED,
        )
    except ValueError as error:  # fewer images on one side than there are classes
        raise InputError(
            f"{fraction:g} of {len(source)} images is too few for a {part} part with all "
            f"{len(classes)} classes: add images, or give the data its own {part} part"
        ) from error
    return source.take(np.sort(kept)), source.take(np.sort(held))
