"""Normalisations of a block's output; none has parameters, none mixes rows."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from goodness.boundary.base import BOUNDARIES, Boundary
from goodness.functional import group_normalise, group_standardise, layer_normalise, rms_normalise
from goodness.types import Fraction, NonNegative


@BOUNDARIES.register("rms")
class RMS(Boundary):
    """Each row divided by its root mean square, so that its goodness is not passed on.

    Forward-Forward's length normalisation, and ASGE's (arXiv 2509.12394) as its code does it: scale
    only.

    Args:
        num_classes: number of classes.
        dropout: fraction of the activations set to zero while learning, before the division.
        eps: added to the root.
    """

    def __init__(
        self, num_classes: int, *, dropout: Fraction = 0.0, eps: NonNegative = 1e-8
    ) -> None:
        super().__init__(num_classes, dropout=dropout)
        self.eps = eps

    def normalise(self, x: Tensor) -> Tensor:
        """(N, C, H, W) with mean square 1 per row."""
        return rms_normalise(x, self.eps)


@BOUNDARIES.register("layer-norm")
class LayerNorm(Boundary):
    """Each row with mean 0 and variance 1 over (C, H, W); no learned scale or shift."""

    def normalise(self, x: Tensor) -> Tensor:
        """(N, C, H, W)."""
        return layer_normalise(x)


@BOUNDARIES.register("group-norm")
class GroupNorm(Boundary):
    """Each class's channel group with mean 0 and variance 1; no learned scale or shift.

    DeeperForward (ICLR 2025), as its code does it: the class cannot be read off the groups'
    strength.
    """

    def normalise(self, x: Tensor) -> Tensor:
        """(N, C, H, W) with mean 0 and variance 1 per row and group."""
        return group_standardise(x, min(self.num_classes, x.shape[1]))


@BOUNDARIES.register("group-rms")
class GroupRMS(Boundary):
    """Each class's channel group divided by its own root mean square: a scale without centring."""

    def normalise(self, x: Tensor) -> Tensor:
        """(N, C, H, W) with mean square 1 per row and group."""
        return group_normalise(x, min(self.num_classes, x.shape[1]))


@BOUNDARIES.register("triangle")
class Triangle(Boundary):
    """max(0, x - mean over channels), position by position: Self-Contrastive FF's activation."""

    def normalise(self, x: Tensor) -> Tensor:
        """(N, C, H, W), non-negative."""
        return F.relu(x - x.mean(1, keepdim=True))
