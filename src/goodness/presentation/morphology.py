from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from goodness.presentation.base import PRESENTATIONS, Labelled, RowNorm, normalised
from goodness.types import PositiveShare, Shape

LINES = ("horizontal", "vertical", "falling", "rising")
OPERATORS = ("dilation", "erosion", "gradient", "opening", "closing", "top_hat", "bottom_hat")


@PRESENTATIONS.register("morphology")
class Morphology(Labelled):
    """Morphological labels (arXiv 2312.14924): the image itself, transformed as the class demands.

    Every class has an operator (dilation, erosion, gradient, opening, closing, top hat, bottom hat)
    and a line to apply it with (four directions, odd lengths from 3 up). Label and image cannot be
    separated, so that no shortcut past the image is left. The list of operators is ours.

    Args:
        image_shape: shape (C, H, W) of an image.
        num_classes: number of classes.
        intensity: K, the transformed image's part; the rest is the image as it is.
        norm: as in `Labelled`.
    """

    def __init__(
        self,
        image_shape: Shape,
        num_classes: int,
        *,
        intensity: PositiveShare = 1.0,
        norm: RowNorm = "layer",
    ) -> None:
        super().__init__(image_shape, num_classes, norm=norm)
        self.intensity = intensity
        self.transforms = transforms(image_shape[1], image_shape[2])[:num_classes]
        for length in {length for _, length, _ in self.transforms}:
            for direction, line in lines(length).items():
                self.register_buffer(f"{direction}{length}", line, persistent=False)

    @classmethod
    def max_classes(cls, image_shape: Shape, options: Mapping[str, Any]) -> int:
        """One per operator and line that fits into the image."""
        return len(transforms(image_shape[1], image_shape[2]))

    def write(self, images: Tensor, labels: Tensor) -> Tensor:
        """(M, C, H, W), every image transformed as its label (M,) demands."""
        rows = torch.empty_like(images)
        for label in labels.unique().tolist():
            chosen = labels == label
            rows[chosen] = self._transformed(images[chosen], label)
        return rows

    def query_rows(self, images: Tensor) -> Tensor:
        """(N * K, C', H, W): every image with every label; no label is looked at."""
        rows = [self._transformed(images, label) for label in range(self.num_classes)]
        return normalised(torch.stack(rows, 1).flatten(0, 1), self.norm)

    def _transformed(self, images: Tensor, label: int) -> Tensor:
        from kornia import morphology  # slow to import, and few need it

        operator, length, direction = self.transforms[label]
        line = self.get_buffer(f"{direction}{length}").to(images.dtype)
        rows: Tensor = getattr(morphology, operator)(images, line)
        return (1 - self.intensity) * images + self.intensity * rows

    def neutral(self, images: Tensor) -> Tensor:
        """(N, C, H, W), not transformed."""
        return images


def transforms(height: int, width: int) -> list[tuple[str, int, str]]:
    """(operator, length, direction) of every class: short lines first, operators in turn.

    >>> transforms(8, 8)[:2]
    [('dilation', 3, 'horizontal'), ('erosion', 3, 'horizontal')]
    """
    lengths = range(3, min(height, width, 13) + 1, 2)
    return [(name, length, line) for length, line, name in product(lengths, LINES, OPERATORS)]


def lines(length: int) -> dict[str, Tensor]:
    """Structuring elements, (length, length), of a line in four directions."""
    falling = torch.eye(length)
    horizontal = torch.zeros(length, length)
    horizontal[length // 2] = 1
    return {
        "horizontal": horizontal,
        "vertical": horizontal.T.clone(),
        "falling": falling,
        "rising": falling.flip(0).clone(),
    }
