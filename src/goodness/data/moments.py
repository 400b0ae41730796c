"""Sums over the pixels of images, from which their mean and deviation follow."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from goodness.data.images import Pixels


class Moments:
    """Sums per channel, added up in float64; of whole numbers they are exact in any order."""

    def __init__(self) -> None:
        self.total: NDArray[np.float64] = np.zeros(1)
        """(C,)."""
        self.squares: NDArray[np.float64] = np.zeros(1)
        """(C,)."""
        self.lowest, self.highest = math.inf, -math.inf
        """Of all values."""
        self.count = 0
        """Pixels."""

    def add(self, images: Tensor | Pixels) -> None:
        """Count images (N, C, H, W), or one (C, H, W); a grey one fills all channels."""
        # Decoded pixels may belong to Pillow, and are not to be written to.
        given = images if isinstance(images, Tensor) else torch.tensor(images)
        self.lowest = min(self.lowest, given.min().item())
        self.highest = max(self.highest, given.max().item())
        values = given.to(torch.float64).view(-1, *given.shape[-3:])
        self.total = self.total + values.sum((0, 2, 3)).numpy()
        self.squares = self.squares + values.square().sum((0, 2, 3)).numpy()
        self.count += values.shape[0] * values.shape[2] * values.shape[3]

    def statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each channel (C,)."""
        mean = self.total / self.count
        return mean, np.sqrt((self.squares / self.count - mean**2).clip(0))
