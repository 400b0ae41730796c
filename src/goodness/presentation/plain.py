from __future__ import annotations

from torch import Tensor

from goodness.presentation.base import PRESENTATIONS, Presentation, RowNorm, normalised
from goodness.types import Shape


@PRESENTATIONS.register("plain")
class Plain(Presentation):
    """The image alone, one row per image, to learn and to predict from.

    Args:
        image_shape: shape (C, H, W) of an image.
        num_classes: number of classes.
        norm: ``"rms"`` divides every image by its root mean square, as ASGE's code does;
            ``"layer"`` gives it mean 0 and variance 1, as DeeperForward's does.
    """

    constant = True

    def __init__(self, image_shape: Shape, num_classes: int, *, norm: RowNorm = "none") -> None:
        super().__init__(image_shape, num_classes)
        self.norm = norm

    def training_rows(self, images: Tensor, y: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W); the labels stay outside."""
        return self.query_rows(images)

    def query_rows(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        return normalised(images, self.norm)
