from __future__ import annotations

import torch
from torch import Tensor, nn

from goodness.presentation.base import PRESENTATIONS, Labelled
from goodness.types import Shape


@PRESENTATIONS.register("label-channel")
class LabelChannel(Labelled):
    """Trifecta's label: an additional channel that holds a learned picture of the class.

    The pictures are parameters of the first block. The neutral label is the mean of all pictures.

    Args:
        image_shape: shape (C, H, W) of an image.
        num_classes: number of classes.
    """

    def __init__(self, image_shape: Shape, num_classes: int) -> None:
        super().__init__(image_shape, num_classes)
        self.pictures = nn.Parameter(torch.randn(num_classes, 1, *image_shape[1:]))

    def write(self, images: Tensor, labels: Tensor) -> Tensor:
        """(M, C + 1, H, W) with the pictures of ``labels`` (M,) behind the image."""
        return torch.cat([images, self.pictures[labels].to(images.dtype)], dim=1)

    def neutral(self, images: Tensor) -> Tensor:
        """(N, C + 1, H, W)."""
        neutral = self.pictures.mean(0, keepdim=True).to(images.dtype)
        return torch.cat([images, neutral.expand(images.shape[0], -1, -1, -1)], dim=1)
