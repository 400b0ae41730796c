from __future__ import annotations

from torch import Tensor, nn

from goodness.registry import Registry

PRESENTATIONS: Registry[type[Presentation]]


class Presentation(nn.Module):
    """Turns images and labels into the rows that the first block sees."""

    def learn(self, image: Tensor, y: Tensor) -> Tensor:
        """Rows to learn from.

        Args:
            image: (N, C, H, W) float.
            y: (N,) int64 labels.
        """
        raise NotImplementedError

    def ask(self, image: Tensor) -> Tensor:
        """Rows to predict from, (N * A, C, H, W): A questions per image; no label to see."""
        raise NotImplementedError


PRESENTATIONS = Registry("presentation", __package__)
