from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from goodness.registry import Registry

BOUNDARIES: Registry[type[Boundary]]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Boundary(nn.Module):
    """Dropout, then the subclass's normalisation; works on each row alone.

    Args:
        classes: number of classes.
        dropout: fraction of the activations set to zero while learning.
        whole_channels: drop channels instead of single activations.
    """

    def __init__(
        self, classes: int, *, dropout: Fraction = 0.0, whole_channels: bool = False
    ) -> None:
        super().__init__()
        self.classes = classes
        self.dropout = nn.Dropout2d(dropout) if whole_channels else nn.Dropout(dropout)

    def normalise(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        return self.normalise(self.dropout(x))


BOUNDARIES = Registry("boundary", __package__)
