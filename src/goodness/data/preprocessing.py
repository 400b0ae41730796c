"""How an image becomes a network's input; kept in the run, so that every use agrees."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from goodness.data.images import to_pixels
from goodness.data.source import Files, make_source
from goodness.data.split import Split


class Preprocessing(BaseModel):
    """The form images have in training.

    Attributes:
        channels: 1 for grey, 3 for colour.
        height: in pixels.
        width: in pixels.
        mean: of each channel over the training images, in [0, 1].
        std: likewise the standard deviation.
        classes: the class names, in the order of the labels.
    """

    model_config = ConfigDict(extra="forbid")

    channels: Literal[1, 3]
    height: int
    width: int
    mean: list[float]
    std: list[float]
    classes: list[str]

    def apply(self, images: Tensor, normalize: bool) -> Tensor:
        """Images uint8 (N, C, H, W) as float32 in [0, 1], or standardised, on their device."""
        scaled = images.to(torch.float32).div_(255)
        return self.normalize(scaled) if normalize else scaled

    def normalize(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1], brought to mean 0 and deviation 1 per channel."""
        mean = _per_channel(tuple(self.mean), images.device)
        std = _per_channel(tuple(self.std), images.device)
        return (images - mean) / std

    def load(self, path: str | Path) -> Tensor:
        """One image file as uint8 (C, H, W), upright and resized as in training.

        Raises:
            InputError: the file is missing, corrupt or no image.
        """
        image = make_source(Files([Path(path)]), [0], ["image"]).open(0)
        return torch.tensor(to_pixels(image, self.channels, (self.height, self.width)))


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
