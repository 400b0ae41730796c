"""From a name or a folder to splits in memory: what training and evaluation call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from goodness.data.locating import Located, locate
from goodness.data.preprocessing import Preprocessing, channel_statistics
from goodness.data.reading import read_split, several_sizes
from goodness.data.source import Source
from goodness.data.split import Split
from goodness.data.splitting import Subset, split_parts
from goodness.errors import InputError, unknown

VAL_FRACTION = 0.1


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
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    preprocessing: Preprocessing

    @property
    def skipped(self) -> list[str]:
        """The names of the unreadable images left out of any part."""
        return self.train.skipped + self.val.skipped + self.test.skipped

    def normalized(self, normalize: bool) -> Dataset:
        """The same images for a network that takes them normalised, or as they are."""
        changed = self.preprocessing.model_copy(update={"normalize": normalize})
        return replace(self, preprocessing=changed)


def open_data(
    name_or_folder: str | Path,
    data_root: str | Path | None = None,
    image_size: int | None = None,
    val_fraction: float = VAL_FRACTION,
    skip_unreadable: bool = False,
    subset: Subset = Subset(),  # noqa: B008
) -> Dataset:
    """Read a data set to train on.

        data = goodness.open_data("photos", image_size=32)
        for pixels, y in data.train.batches(128, "cpu"):  # uint8 (N, C, H, W), int64 (N,)
            images = data.preprocessing.apply(pixels)  # float32 (N, C, H, W), normalised

    Images are grey where all training images are, else colour. Which images are held out
    depends on the data alone.

    Args:
        name_or_folder: the name of a data set, or a folder of images or Parquet files.
        data_root: where names are looked up and downloads go; None means $GOODNESS_DATA.
        image_size: height and width; the shorter side is resized to it, the centre cropped.
        val_fraction: the share of the training images to validate on, where the data has no
            validation part of its own.
        skip_unreadable: leave unreadable images out instead of raising.
        subset: which images are used.

    Returns:
        Three splits, and the preprocessing that a network trained on them needs.

    Raises:
        InputError: the data cannot be found, read or split; the message says which and why.
    """
    located = locate(name_or_folder, data_root)
    _check_several_classes(located)
    if subset.classes is not None and len(subset.classes) < 2:
        raise InputError("classes: telling classes apart needs at least 2")
    sources = split_parts(located.parts, val_fraction, subset)
    classes = sources["train"].classes
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size is {image_size}; it should be at least 1")
    size = None if image_size is None else (image_size, image_size)
    train = read_split(sources["train"], size=size, skip_unreadable=skip_unreadable)
    _check_no_class_lost(sources["train"], train)
    channels, height, width = train.image_shape

    def read_held_out(part: str) -> Split:
        source = sources[part].relabel(classes)
        split = read_split(source, channels=channels, size=size, skip_unreadable=skip_unreadable)
        if split.image_shape != train.image_shape:
            raise several_sizes(
                sources["train"].name(0), train.image_shape, source.name(0), split.image_shape
            )
        return split

    mean, std = channel_statistics(train)
    preprocessing = Preprocessing(
        channels=1 if channels == 1 else 3,
        height=height,
        width=width,
        mean=mean,
        std=std,
        classes=list(classes),
    )
    return Dataset(
        name=located.name,
        classes=classes,
        train=train,
        val=read_held_out("val"),
        test=read_held_out("test"),
        preprocessing=preprocessing,
    )


def open_split(
    name_or_folder: str | Path,
    split: str,
    preprocessing: Preprocessing,
    data_root: str | Path | None = None,
    val_fraction: float = VAL_FRACTION,
    skip_unreadable: bool = False,
    whole: bool = True,
    subset: Subset = Subset(),  # noqa: B008
) -> Split:
    """Read one part of a data set in the form a trained network expects.

    Its classes are matched by name with those trained on; it may lack some of them.

    Args:
        name_or_folder: as in `open_data`.
        split: "train", "val" or "test".
        preprocessing: the form of the images and the class names, from the run.
        data_root: as in `open_data`.
        val_fraction: as in `open_data`; the run's, to get the run's own split.
        skip_unreadable: leave unreadable images out instead of raising.
        whole: take all images of a folder with its classes directly below it, whatever
            ``split`` is; pass False for the data the run was trained on, to hold the same
            images out as `open_data` did.
        subset: which images are used.

    Raises:
        InputError: the data cannot be found, read or split, or has an unknown class.
    """
    if split not in ("train", "val", "test"):
        raise unknown("split", split, ("train", "val", "test"))
    located = locate(name_or_folder, data_root)
    if located.flat and whole:
        source = located.parts["train"]
    elif split != "train" and split in located.parts:
        # Without asking for training images to be there too.
        source = subset.chosen(located.parts[split])
    else:
        source = split_parts(located.parts, val_fraction, subset)[split]
    return read_split(
        source.relabel(preprocessing.classes),
        channels=preprocessing.channels,
        size=(preprocessing.height, preprocessing.width),
        skip_unreadable=skip_unreadable,
    )


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
