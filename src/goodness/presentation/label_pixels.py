from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from goodness.presentation.base import PRESENTATIONS, Labelled, RowNorm
from goodness.types import Positive, Shape


@PRESENTATIONS.register("label-pixels")
class LabelPixels(Labelled):
    """Hinton's label (arXiv 2212.13345): the first K pixels are overwritten with its one-hot code.

    Pixels are counted row by row, in every channel alike. A convolution has the label in its
    field at the corner alone, which is why this fails in convolutional networks.

    Args:
        image_shape: shape (C, H, W) of an image.
        num_classes: number of classes.
        value: of the label's pixel; the others get 0. The neutral label has value / K everywhere.
        norm: as in `Labelled`; the released code has ``"rms"``.
    """

    def __init__(
        self, image_shape: Shape, num_classes: int, *, value: Positive = 1.0, norm: RowNorm = "rms"
    ) -> None:
        super().__init__(image_shape, num_classes, norm=norm)
        self.value = value

    @classmethod
    def max_classes(cls, image_shape: Shape, options: Mapping[str, Any]) -> int:
        """A class needs a pixel, and one pixel of image has to be left."""
        return image_shape[1] * image_shape[2] - 1

    def write(self, images: Tensor, labels: Tensor) -> Tensor:
        """(M, C, H, W) with the one-hot labels of ``labels`` (M,)."""
        return self._overwrite(images, F.one_hot(labels, self.num_classes).to(images.dtype))

    def neutral(self, images: Tensor) -> Tensor:
        """(N, C, H, W) with the same value in every label pixel."""
        return self._overwrite(images, images.new_full((1, self.num_classes), 1 / self.num_classes))

    def _overwrite(self, images: Tensor, code: Tensor) -> Tensor:
        pixels = images.flatten(2).clone()
        pixels[:, :, : self.num_classes] = self.value * code[:, None].to(images.dtype)
        return pixels.reshape(images.shape)
