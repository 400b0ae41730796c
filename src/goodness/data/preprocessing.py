"""How an image becomes a network's input; kept in the run, so that every use agrees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from goodness.data.images import to_pixels
from goodness.data.settings import MAX_PIXELS
from goodness.data.source import Files, Paths, make_source
from goodness.data.split import Split
from goodness.data.tensors import as_image
from goodness.errors import InputError

ImageLike: TypeAlias = str | Path | Image.Image | Tensor | NDArray[Any]
"""A file, a Pillow image, an array (H, W, C) or (H, W), or a tensor (C, H, W)."""


class Preprocessing(BaseModel):
    """The form that images have in training; a run knows its own (``run.preprocessing``).

    It needs no network and no run: ``preprocessing.model_dump_json()`` is all of it, and
    ``Preprocessing.model_validate_json(text)`` reads it.

    Attributes:
        channels: 1 for grey, 3 for colour; of tensors any number.
        height: in pixels.
        width: in pixels.
        mean: of each channel over the training images, in [0, 1].
        std: likewise the standard deviation.
        classes: the class names, in the order of the labels.
        normalize: whether images are brought to mean 0 and deviation 1 per channel.
        pixels: whether images are pixels, in [0, 1]. Else they were floats of another range, and
            only such floats can follow.
    """

    model_config = ConfigDict(extra="forbid")

    channels: int = Field(ge=1)
    height: int
    width: int
    mean: list[float]
    std: list[float]
    classes: list[str]
    normalize: bool = True
    pixels: bool = True

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Tensor:
        """Images as the network takes them.

        Args:
            images: one image or several: files, Pillow images, arrays of uint8 (H, W, C) or (H, W)
                of any size; or tensors and arrays (C, H, W) of the right size, of uint8 or of
                floats in [0, 1]; or a batch of them in one tensor (N, C, H, W) or array (N, ...).

        Returns:
            float32 (N, C, H, W) on the CPU, or on the tensor's device.

        Raises:
            InputError: a file is missing, corrupt or no image, or a tensor has another shape.
        """
        if isinstance(images, Tensor) and images.dim() == 4:
            return self.apply(self._checked(images))
        several = list(self.listed(images))
        if not several:
            return torch.empty(0, self.channels, self.height, self.width)
        return self.normalized(torch.stack([self.scaled(self.load(image)) for image in several]))

    def listed(self, images: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
        """One image, or several of them in one tensor or array, as a list."""
        if isinstance(images, np.ndarray):
            # (N, H, W) is a batch of grey images, and (H, W, C) one of colour.
            colour = images.ndim == 3 and images.shape[2] in (1, 3, 4)
            one = images.ndim == 2 or colour or self._has_channels_first(images)
            return [images] if one else list(images)
        if isinstance(images, Tensor) and images.dim() == 4:
            return list(images)
        return [images] if isinstance(images, str | Path | Image.Image | Tensor) else images

    def load(self, image: ImageLike, max_pixels: int = MAX_PIXELS) -> Tensor:
        """One image as uint8 (C, H, W), upright and resized as in training; floats stay floats.

        Args:
            image: one, as calling it takes it.
            max_pixels: a file of more (height times width) is refused before it is decoded.

        Raises:
            InputError: as calling it does.
        """
        if isinstance(image, np.ndarray):
            plain = self._has_channels_first(image) or not self._is_picture
            if plain or image.dtype != np.uint8:
                return self._checked(as_image(image, "an image"))
            image = _pillow(image)
        if isinstance(image, Tensor):
            return self._checked(image[None] if image.dim() == 2 else image)
        if not self._is_picture:
            raise InputError(
                "the network was trained on tensors that no file has: give tensors like those of"
                f" its training, ({self.channels}, {self.height}, {self.width})"
            )
        if not isinstance(image, Image.Image):
            source = make_source(Files(Paths([image])), [0], ["image"])
            image = replace(source, max_pixels=max_pixels).open(0)
        # A file's has no such mark any more.
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "F":
            raise InputError("an image of floats: its pixels have no fixed range")
        return torch.tensor(to_pixels(upright, self.channels, (self.height, self.width)))

    def apply(self, pixels: Tensor) -> Tensor:
        """Images (N, C, H, W), uint8 or floats, as the network takes them, on their device."""
        return self.normalized(self.scaled(pixels))

    def scaled(self, pixels: Tensor) -> Tensor:
        """Images (N, C, H, W) as float32, from uint8 to [0, 1]."""
        floats = pixels.to(torch.float32)
        return floats.div_(255) if pixels.dtype == torch.uint8 else floats

    def normalized(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1], brought to mean 0 and deviation 1 if they are to be."""
        if not self.normalize:
            return images
        mean = _per_channel(tuple(self.mean), images.device)
        std = _per_channel(tuple(self.std), images.device)
        return (images - mean) / std

    @property
    def _is_picture(self) -> bool:
        """Whether a file can hold such an image."""
        return self.pixels and self.channels in (1, 3)

    def _has_channels_first(self, array: NDArray[Any]) -> bool:
        """Whether an array is an image (C, H, W) as the network takes it, and no (H, W, C)."""
        own = (self.channels, self.height, self.width)
        return array.shape == own and array.shape[2] not in (1, 3, 4)

    def _checked(self, images: Tensor) -> Tensor:
        """Tensors (C, H, W) or (N, C, H, W) of the form that is needed."""
        shape = (self.channels, self.height, self.width)
        floats = images.dtype.is_floating_point
        if images.shape[-3:] != shape or not (floats or (images.dtype == torch.uint8)):
            raise InputError(
                f"an image of {tuple(images.shape)}, {images.dtype}: uint8 or floats of {shape} are"
                " needed (a file or a Pillow image is brought to this form)"
            )
        if not self.pixels and not floats:
            raise InputError(
                f"an image of {images.dtype}: the network was trained on floats of another range"
            )
        if self.pixels and floats and not (images.min() >= 0 and images.max() <= 1):
            low, high = images.min().item(), images.max().item()
            raise InputError(
                f"an image of floats from {low:g} to {high:g}: they are to lie in [0, 1], as the"
                " network does the rest (or give uint8)"
            )
        return images


def _pillow(array: NDArray[np.uint8]) -> Image.Image:
    """An image of uint8 (H, W) or (H, W, C)."""
    grey = array.ndim == 3 and array.shape[2] == 1
    try:
        return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if grey else array))
    except (TypeError, ValueError):
        raise InputError(
            f"an array of shape {array.shape} is no image: (H, W), (H, W, 3) or (H, W, 4) is needed"
        ) from None


def are_pixels(split: Split) -> bool:
    """Whether images are uint8, or floats that all lie in [0, 1]."""
    if split.dtype == torch.uint8:
        return True
    moments = split.moments()
    return moments.lowest >= 0 and moments.highest <= 1


@lru_cache(maxsize=16)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """The values as (C, 1, 1) on a device; cached, as copying them there waits for the device."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


def channel_statistics(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over a split: of pixels in [0, 1]."""
    mean, std = split.moments().statistics()
    if split.dtype != torch.uint8:
        # A constant channel is left as it is.
        return mean.tolist(), np.where(std > 0, std, 1.0).tolist()
    # At least one grey level, so that standardising a constant channel does not divide by 0.
    return (mean / 255).tolist(), (std.clip(1) / 255).tolist()
