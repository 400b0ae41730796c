from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import rms_normalise
from goodness.registry import Registry
from goodness.types import Shape

RowNorm = Literal["none", "rms", "layer"]
PRESENTATIONS: Registry[type[Presentation]]


class Presentation(nn.Module):
    """Turns images and labels into the rows that enter the first block.

    The constructor of a subclass is ``(image_shape, num_classes, *, options)``. Random draws come
    from torch's default generators, which are seeded for every step.

    Args:
        image_shape: the shape (C, H, W) of an image.
        num_classes: number of classes, K.
    """

    queries = 1
    """Rows per image to predict from, A: 1, or K where a label is part of the row."""

    constant = False
    """Whether an image always gives the same one row, to learn and to predict from."""

    paired = False
    """Whether images give two rows each to learn from, a positive and a negative one."""

    def __init__(self, image_shape: Shape, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    @classmethod
    def max_classes(cls, image_shape: Shape, options: Mapping[str, Any]) -> int | None:
        """The largest K for images (C, H, W) with these options; None: there is no limit."""
        return None

    def training_rows(self, images: Tensor, y: Tensor) -> Tensor:
        """Rows to learn from, (V * N, C', H, W): the N positive ones first.

        Args:
            images: (N, C, H, W) float.
            y: (N,) int64 labels.
        """
        raise NotImplementedError

    def query_rows(self, images: Tensor) -> Tensor:
        """Rows to predict from, (N * A, C', H, W); row ``n * A + k`` is image n with label k."""
        raise NotImplementedError

    def neutral_rows(self, images: Tensor) -> Tensor:
        """One row per image without its label, (N, C', H, W), for readouts."""
        return self.query_rows(images)

    def block_input(self, rows: Tensor, training: bool) -> Tensor:
        """The input of a later block, from the rows (rows, C, H, W) of the block before it."""
        return rows


class Labelled(Presentation):
    """Writes a label into every image: the true one (positive) and a wrong one (negative).

    Hinton's Forward-Forward (arXiv 2212.13345). Negatives are drawn uniformly from the K - 1 wrong
    labels. To predict, all K labels are tried; readouts have rows with a neutral label.

    Args:
        image_shape: shape (C, H, W) of an image.
        num_classes: number of classes.
        norm: of every row, label and all: ``"rms"`` divides by the root mean square, ``"layer"``
            subtracts the mean too.
    """

    paired = True

    def __init__(self, image_shape: Shape, num_classes: int, *, norm: RowNorm = "none") -> None:
        super().__init__(image_shape, num_classes)
        self.queries = num_classes
        self.norm = norm

    def write(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (M, C, H, W) with labels (M,) written into them."""
        raise NotImplementedError

    def training_rows(self, images: Tensor, y: Tensor) -> Tensor:
        """(2 * N, C', H, W): with the true labels, then with wrong ones."""
        wrong = (y + torch.randint_like(y, 1, self.num_classes)) % self.num_classes
        both = self.write(torch.cat([images, images]), torch.cat([y, wrong]))
        return normalised(both, self.norm)

    def query_rows(self, images: Tensor) -> Tensor:
        """(N * K, C', H, W): every image with every label."""
        labels = torch.arange(self.num_classes, device=images.device).repeat(images.shape[0])
        images = images.repeat_interleave(self.num_classes, dim=0)
        return normalised(self.write(images, labels), self.norm)

    def neutral(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) with a label of no class."""
        raise NotImplementedError

    def neutral_rows(self, images: Tensor) -> Tensor:
        """(N, C', H, W) with a neutral label."""
        return normalised(self.neutral(images), self.norm)


def normalised(rows: Tensor, norm: RowNorm) -> Tensor:
    """Every row (M, C, H, W) divided by its root mean square, or with mean 0 and variance 1 too."""
    if norm == "rms":
        return rms_normalise(rows)
    return F.layer_norm(rows, rows.shape[1:]) if norm == "layer" else rows


PRESENTATIONS = Registry("presentation", __package__)
