"""How an image becomes a network's input; kept in the run, so that every use agrees."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from goodness.data.images import to_pixels
from goodness.data.source import Files, make_source
from goodness.data.split import Split
from goodness.errors import InputError

ImageLike = str | Path | Image.Image | Tensor
"""A file, a Pillow image, or uint8 (C, H, W)."""


class Preprocessing(BaseModel):
    """The form that images have in training; a run knows its own (``run.preprocessing``).

    It needs no network and no run: ``preprocessing.model_dump_json()`` is all of it, and
    ``Preprocessing.model_validate_json(text)`` reads it.

    Attributes:
        channels: 1 for grey, 3 for colour.
        height: in pixels.
        width: in pixels.
        mean: of each channel over the training images, in [0, 1].
        std: likewise the standard deviation.
        classes: the class names, in the order of the labels.
        normalize: whether images are brought to mean 0 and deviation 1 per channel.
    """

    model_config = ConfigDict(extra="forbid")

    channels: Literal[1, 3]
    height: int
    width: int
    mean: list[float]
    std: list[float]
    classes: list[str]
    normalize: bool = True

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Tensor:
        """Images as the network takes them.

        Args:
            images: one image or several: files, Pillow images, or uint8 tensors (C, H, W) of the
                right size; or a uint8 tensor (N, C, H, W).

        Returns:
            float32 (N, C, H, W) on the CPU, or on the tensor's device.

        Raises:
            InputError: a file is missing, corrupt or no image, or a tensor has another shape.
        """
        if isinstance(images, Tensor) and images.dim() == 4:
            return self.apply(self._checked(images))
        several = [images] if isinstance(images, str | Path | Image.Image | Tensor) else images
        if not several:
            return torch.empty(0, self.channels, self.height, self.width)
        return self.apply(torch.stack([self.load(image) for image in several]))

    def load(self, image: ImageLike) -> Tensor:
        """One image as uint8 (C, H, W), upright and resized as in training.

        Raises:
            InputError: as calling it does.
        """
        if isinstance(image, Tensor):
            return self._checked(image)
        if not isinstance(image, Image.Image):
            image = make_source(Files([Path(image)]), [0], ["image"]).open(0)
        # A file's has no such mark any more.
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "F":
            raise InputError("an image of floats: its pixels have no fixed range")
        return torch.tensor(to_pixels(upright, self.channels, (self.height, self.width)))

    def apply(self, pixels: Tensor) -> Tensor:
        """Images uint8 (N, C, H, W) as the network takes them, on their device."""
        return self.normalized(self.scaled(pixels))

    def scaled(self, pixels: Tensor) -> Tensor:
        """Images uint8 (N, C, H, W) as float32 in [0, 1]."""
        return pixels.to(torch.float32).div_(255)

    def normalized(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1], brought to mean 0 and deviation 1 if they are to be."""
        if not self.normalize:
            return images
        mean = _per_channel(tuple(self.mean), images.device)
        std = _per_channel(tuple(self.std), images.device)
        return (images - mean) / std

    def _checked(self, pixels: Tensor) -> Tensor:
        shape = (self.channels, self.height, self.width)
        if pixels.dtype != torch.uint8 or pixels.shape[-3:] != shape:
            raise InputError(
                f"an image of {tuple(pixels.shape)}, {pixels.dtype}: uint8 of {shape} is needed"
                " (a file or a Pillow image is brought to this form)"
            )
        return pixels


@lru_cache(maxsize=16)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """The values as (C, 1, 1) on a device; cached, as copying them there waits for the device."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


def channel_statistics(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over a split, in [0, 1]."""
    total = torch.zeros(split.image_shape[0], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for images, _ in split.batches(256, "cpu"):
        values = images.to(torch.float64)  # sums of whole numbers, so exact in any batching
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    count = len(split) * split.image_shape[1] * split.image_shape[2]
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    # At least one grey level, so that standardising a constant channel does not divide by 0.
    std = std.clamp(min=1)
    return (mean / 255).tolist(), (std / 255).tolist()
