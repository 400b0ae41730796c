from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import rms_normalise
from goodness.registry import Registry

Shape = tuple[int, int, int]
RowNorm = Literal["none", "rms", "layer"]
PRESENTATIONS: Registry[type[Presentation]]


class Presentation(nn.Module):
    """Turns images and labels into the rows that the blocks see.

    Subclasses take ``(image, classes, *, options)``. Random draws come from torch's default
    generators, which the engine seeds for every step.

    Args:
        image: the shape (C, H, W) of an image.
        classes: number of classes, K.
    """

    answers = 1
    """Questions per image when asked, A: 1, or K where a label is part of the row."""

    constant = False
    """Whether an image always gives the same one row, to learn from and to ask."""

    paired = False
    """Whether images give two rows each to learn from, a positive and a negative one."""

    def __init__(self, image: Shape, classes: int) -> None:
        super().__init__()
        self.classes = classes

    @classmethod
    def most_classes(cls, image: Shape, options: Mapping[str, Any]) -> int | None:
        """The largest K for images (C, H, W) with these options; None: there is no limit."""
        return None

    def learn(self, image: Tensor, y: Tensor) -> Tensor:
        """Rows to learn from, (V * N, C', H, W): the N positive ones first.

        Args:
            image: (N, C, H, W) float.
            y: (N,) int64 labels.
        """
        raise NotImplementedError

    def ask(self, image: Tensor) -> Tensor:
        """Rows to predict from, (N * A, C', H, W); row ``n * A + k`` asks "is n a k?"."""
        raise NotImplementedError

    def probe(self, image: Tensor) -> Tensor:
        """One row per image that tells nothing of its label, (N, C', H, W), for readouts."""
        return self.ask(image)

    def enter(self, rows: Tensor, learning: bool) -> Tensor:
        """What a later block makes of the rows that the block before it sent."""
        return rows


class Labelled(Presentation):
    """Writes a label into every image: the true one (positive) and a wrong one (negative).

    Hinton's Forward-Forward (arXiv 2212.13345). Negatives are drawn uniformly from the K - 1 wrong
    labels. To predict, all K labels are tried; a neutral label serves the readouts.

    Args:
        image: shape (C, H, W) of an image.
        classes: number of classes.
        norm: of every row, label and all: ``"rms"`` divides by the root mean square, ``"layer"``
            takes off the mean too.
    """

    paired = True

    def __init__(self, image: Shape, classes: int, *, norm: RowNorm = "none") -> None:
        super().__init__(image, classes)
        self.answers = classes
        self.norm = norm

    def write(self, image: Tensor, labels: Tensor) -> Tensor:
        """Images (M, C, H, W) with labels (M,) written into them."""
        raise NotImplementedError

    def learn(self, image: Tensor, y: Tensor) -> Tensor:
        """(2 * N, C', H, W): with the true labels, then with wrong ones."""
        wrong = (y + torch.randint_like(y, 1, self.classes)) % self.classes
        return self._normalised(self.write(torch.cat([image, image]), torch.cat([y, wrong])))

    def ask(self, image: Tensor) -> Tensor:
        """(N * K, C', H, W): every image with every label."""
        labels = torch.arange(self.classes, device=image.device).repeat(len(image))
        return self._normalised(self.write(image.repeat_interleave(self.classes, dim=0), labels))

    def neutral(self, image: Tensor) -> Tensor:
        """Images (N, C, H, W) with a label that tells nothing."""
        raise NotImplementedError

    def probe(self, image: Tensor) -> Tensor:
        """(N, C', H, W) with a neutral label."""
        return self._normalised(self.neutral(image))

    def _normalised(self, rows: Tensor) -> Tensor:
        if self.norm == "rms":
            return rms_normalise(rows)
        return F.layer_norm(rows, rows.shape[1:]) if self.norm == "layer" else rows


PRESENTATIONS = Registry("presentation", __package__)
