from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from goodness.presentation.base import PRESENTATIONS, Labelled, RowNorm, Shape


@PRESENTATIONS.register("label-pixels")
class LabelPixels(Labelled):
    """Hinton's label (arXiv 2212.13345): the first K pixels are overwritten with its one-hot code.

    Pixels are counted row by row, in every channel alike. A convolution sees the label only where
    its field touches the corner, which is why this fails in convolutional networks.

    Args:
        image: shape (C, H, W) of an image.
        classes: number of classes.
        value: of the label's pixel; the others get 0. The neutral label has value / K everywhere.
        norm: as in `Labelled`; the released code has ``"rms"``.
    """

    def __init__(
        self,
        image: Shape,
        classes: int,
        *,
        value: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0,
        norm: RowNorm = "rms",
    ) -> None:
        super().__init__(image, classes, norm=norm)
        self.value = value

    @classmethod
    def most_classes(cls, image: Shape, options: Mapping[str, Any]) -> int:
        """A class needs a pixel, and one pixel of image has to be left."""
        return image[1] * image[2] - 1

    def write(self, image: Tensor, labels: Tensor) -> Tensor:
        """(M, C, H, W) with the one-hot labels of ``labels`` (M,)."""
        return self._overwrite(image, F.one_hot(labels, self.classes).to(image.dtype))

    def neutral(self, image: Tensor) -> Tensor:
        """(N, C, H, W) with the same value in every label pixel."""
        flat = torch.full((len(image), self.classes), 1 / self.classes, device=image.device)
        return self._overwrite(image, flat)

    def _overwrite(self, image: Tensor, code: Tensor) -> Tensor:
        pixels = image.flatten(2).clone()
        pixels[:, :, : self.classes] = self.value * code[:, None].to(image.dtype)
        return pixels.reshape(image.shape)
