from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import dropout
from goodness.registry import Registry
from goodness.types import Fraction

BOUNDARIES: Registry[type[Boundary]]


class Boundary(nn.Module):
    """Dropout, then the subclass's normalisation, if any; works on each row alone.

    Args:
        num_classes: number of classes.
        dropout: fraction of the activations set to zero while learning.
        whole_channels: drop channels instead of single activations.
    """

    def __init__(
        self, num_classes: int, *, dropout: Fraction = 0.0, whole_channels: bool = False
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dropout = dropout
        self.whole_channels = whole_channels

    @classmethod
    def changes_features(cls) -> bool:
        """Whether it does more than dropout."""
        return cls.normalise is not Boundary.normalise

    def normalise(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        if self.training and self.dropout:
            drop = F.dropout2d if self.whole_channels else dropout
            x = drop(x, self.dropout)
        return self.normalise(x)


BOUNDARIES = Registry("boundary", __package__)
