from __future__ import annotations

import torch
from torch import Tensor, nn

from goodness.presentation.base import PRESENTATIONS, Labelled, Shape


@PRESENTATIONS.register("label-channel")
class LabelChannel(Labelled):
    """Trifecta's label: an additional channel that holds a learned picture of the class.

    The pictures are parameters of the first block. The neutral label is the mean of all pictures.

    Args:
        image: shape (C, H, W) of an image.
        classes: number of classes.
    """

    def __init__(self, image: Shape, classes: int) -> None:
        super().__init__(image, classes)
        self.pictures = nn.Parameter(torch.randn(classes, 1, *image[1:]))

    def write(self, image: Tensor, labels: Tensor) -> Tensor:
        """(M, C + 1, H, W) with the pictures of ``labels`` (M,) behind the image."""
        return torch.cat([image, self.pictures[labels].to(image.dtype)], dim=1)

    def neutral(self, image: Tensor) -> Tensor:
        """(N, C + 1, H, W)."""
        neutral = self.pictures.mean(0, keepdim=True).to(image.dtype)
        return torch.cat([image, neutral.expand(len(image), -1, -1, -1)], dim=1)
