"""From a name or a folder to splits in memory: what training and evaluation call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from goodness.data.fingerprint import Fingerprint, fingerprint
from goodness.data.given import Given, locate_given
from goodness.data.locating import Located, locate
from goodness.data.preprocessing import Preprocessing, are_pixels, channel_statistics
from goodness.data.reading import SeveralSizes, is_large, read_split
from goodness.data.settings import MAX_PIXELS
from goodness.data.sizing import MANY, default_side, sizes_of, told
from goodness.data.source import Source
from goodness.data.split import Split
from goodness.data.splitting import Subset, split_parts
from goodness.errors import InputError, unknown
from goodness.notes import note

VAL_FRACTION = 0.1
NAMED = 5
"""So many classes are told by name."""


@dataclass(frozen=True)
class Dataset:
    """A data set, read and split.

    Attributes:
        name: the name it was asked for by, or that of its folder.
        classes: the class names, in the order of the labels.
        train: the training images, without those held out.
        val: the validation images.
        test: the test images.
        preprocessing: how these images become a network's input.
        fingerprint: tells these images from others.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    preprocessing: Preprocessing
    given: bool = False
    """Whether a program gave it: nobody else finds it again."""
    fingerprint: Fingerprint | None = None

    @property
    def parts(self) -> dict[str, Split]:
        """The splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def memory_bytes(self) -> int:
        """What the images that are kept decoded take."""
        return sum(split.memory_bytes for split in self.parts.values())

    @property
    def skipped(self) -> list[str]:
        """The names of the unreadable images left out of any part."""
        return self.train.skipped + self.val.skipped + self.test.skipped

    def normalized(self, normalize: bool) -> Dataset:
        """The same images for a network that takes them normalised, or as they are."""
        changed = self.preprocessing.model_copy(update={"normalize": normalize})
        return replace(self, preprocessing=changed)


def open_data(
    data: str | Path | Given,
    data_root: str | Path | None = None,
    image_size: int | None = None,
    val_fraction: float = VAL_FRACTION,
    skip_unreadable: bool = False,
    subset: Subset = Subset(),  # noqa: B008
    max_pixels: int = MAX_PIXELS,
) -> Dataset:
    """Read a data set to train on.

        data = goodness.open_data("photos", image_size=32)
        for pixels, y in data.train.batches(128, "cpu"):  # uint8 (N, C, H, W), int64 (N,)
            images = data.preprocessing.apply(pixels)  # float32 (N, C, H, W), normalised

    Images are grey where all training images are, else colour. Which images are held out
    depends on the data alone.

    Args:
        data: the name of a data set, a folder of images or Parquet files, or what a program has:
            arrays ``(images, labels)``, a map-style torch ``Dataset`` or a ``DataLoader`` of one,
            or these by part, ``{"train": ..., "val": ..., "test": ...}``.
        data_root: where names are looked up and downloads go; None means $GOODNESS_DATA.
        image_size: height and width; the shorter side is resized to it, the centre cropped. None
            leaves images of one size as they are; of several sizes see `goodness.data.sizing`.
        val_fraction: the share of the training images to validate on, where the data has no
            validation part of its own.
        skip_unreadable: leave unreadable images out instead of raising.
        subset: which images are used.
        max_pixels: an image of more (height times width) is refused before it is decoded.

    Returns:
        Three splits, and the preprocessing that a network trained on them needs.

    Raises:
        InputError: the data cannot be found, read or split; the message says which and why.
    """
    located = _located(data, data_root, max_pixels)
    _check_several_classes(located)
    if subset.classes is not None and len(subset.classes) < 2:
        raise InputError("classes: telling classes apart needs at least 2")
    parts = {part: subset.chosen(source) for part, source in located.parts.items()}
    sources = split_parts(located.parts, val_fraction, subset)
    classes = sources["train"].classes
    if image_size is not None:
        _check_side(image_size, max_pixels)
    sources = {part: source.relabel(classes) for part, source in sources.items()}
    splits = _read(sources, image_size, skip_unreadable)
    _tell_lacking(splits, classes)
    train = splits["train"]
    channels, height, width = train.image_shape
    mean, std = channel_statistics(train)
    preprocessing = Preprocessing(
        channels=channels,
        height=height,
        width=width,
        mean=mean,
        std=std,
        classes=list(classes),
        pixels=are_pixels(train),
    )
    return Dataset(
        name=located.name,
        classes=classes,
        **splits,
        preprocessing=preprocessing,
        given=not isinstance(data, str | Path),
        fingerprint=fingerprint(parts, sources, splits),
    )


def open_split(
    data: str | Path | Given,
    split: str,
    preprocessing: Preprocessing,
    data_root: str | Path | None = None,
    val_fraction: float = VAL_FRACTION,
    skip_unreadable: bool = False,
    whole: bool = True,
    subset: Subset = Subset(),  # noqa: B008
    max_pixels: int = MAX_PIXELS,
) -> Split:
    """Read one part of a data set in the form a trained network expects.

    Its classes are matched by name with those trained on; it may lack some of them.

    Args:
        data: as in `open_data`.
        split: "train", "val" or "test".
        preprocessing: the form of the images and the class names, from the run.
        data_root: as in `open_data`.
        val_fraction: as in `open_data`; the run's, to get the run's own split.
        skip_unreadable: leave unreadable images out instead of raising.
        whole: take all images of a folder with its classes directly below it, whatever
            ``split`` is; pass False for the data the run was trained on, to hold the same
            images out as `open_data` did.
        subset: which images are used.
        max_pixels: as in `open_data`.

    Raises:
        InputError: the data cannot be found, read or split, or has an unknown class.
    """
    if split not in ("train", "val", "test"):
        raise unknown("split", split, ("train", "val", "test"))
    located = _located(data, data_root, max_pixels)
    if located.flat and whole:
        source = located.parts["train"]
    elif split != "train" and split in located.parts:
        # Without asking for training images to be there too.
        source = subset.chosen(located.parts[split])
    else:
        source = split_parts(located.parts, val_fraction, subset)[split]
    size = preprocessing.height, preprocessing.width
    return read_split(
        source.relabel(preprocessing.classes),
        channels=preprocessing.channels,
        size=size,
        skip_unreadable=skip_unreadable,
        large=is_large([source], size),
    )


def _located(data: str | Path | Given, root: str | Path | None, max_pixels: int) -> Located:
    found = locate(data, root) if isinstance(data, str | Path) else locate_given(data)
    limited = {part: replace(one, max_pixels=max_pixels) for part, one in found.parts.items()}
    return replace(found, parts=limited)


def _check_side(side: int, max_pixels: int) -> None:
    if side < 1:
        raise InputError(f"image_size is {side}; it should be at least 1")
    if side**2 > max_pixels:
        raise InputError(
            f"image_size is {side}: {side}x{side} is more than {max_pixels:,} pixels (--max-pixels"
            " raises the limit)"
        )


def _read(
    sources: dict[str, Source], image_size: int | None, skip_unreadable: bool
) -> dict[str, Split]:
    """All parts at one size: the one asked for, else that of all images, else a default."""

    def read(side: int | None) -> dict[str, Split]:
        size = None if side is None else (side, side)
        large = is_large(sources.values(), size)
        options: dict[str, Any] = {"size": size, "skip_unreadable": skip_unreadable, "large": large}
        train = read_split(sources["train"], **options)
        _check_no_class_lost(sources["train"], train)
        splits = {"train": train}
        for part in ("val", "test"):
            source, channels = sources[part], train.image_shape[0]
            taken = sum(split.memory_bytes for split in splits.values())
            split = read_split(source, channels=channels, taken=taken, **options)
            if split.image_shape != train.image_shape:
                names = sources["train"].name(0), source.name(0)
                raise SeveralSizes(names[0], train.image_shape, names[1], split.image_shape)
            splits[part] = split
        return splits

    if image_size is not None:
        return read(image_size)
    sizes = sizes_of(sources.values())
    if len(set(sizes)) < 2:
        try:
            return read(None)
        except SeveralSizes:  # among those that were not looked at
            sizes = sizes_of(sources.values(), probed=MANY)
    side = default_side(sizes)
    note(told(sizes, side))
    return read(side)


def _tell_lacking(splits: dict[str, Split], classes: tuple[str, ...]) -> None:
    """Say which classes a part has no image of, where another part has some."""
    seen = {part: np.unique(split.labels.numpy()) for part, split in splits.items()}
    somewhere = np.unique(np.concatenate(list(seen.values())))
    for part, title in (("train", "training"), ("val", "validation"), ("test", "test")):
        lacking = np.setdiff1d(somewhere, seen[part])
        if len(lacking):
            named = ", ".join(f"'{classes[label]}'" for label in lacking[:NAMED])
            more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
            note(f"the {title} part has no image of class {named}{more}")


def _check_several_classes(located: Located) -> None:
    train = located.parts.get("train")
    if train is not None and len(labels := np.unique(train.labels)) < 2:
        raise InputError(
            f"'{located.name}' has one class only, '{train.classes[labels[0]]}'; "
            "telling classes apart needs at least 2"
        )


def _check_no_class_lost(source: Source, split: Split) -> None:
    """Raise where leaving unreadable images out left a class without any."""
    lost = np.setdiff1d(source.labels, split.labels.numpy())
    if len(lost):
        raise InputError(
            f"no image of class '{source.classes[lost[0]]}' could be read, "
            f"such as {source.name_of_first(lost[0])}"
        )
