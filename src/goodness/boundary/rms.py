from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from goodness.boundary.base import BOUNDARIES, Boundary, Fraction
from goodness.functional import rms_normalise


@BOUNDARIES.register("rms")
class RMS(Boundary):
    """Each row divided by its root mean square, so that its goodness is not passed on.

    ASGE (arXiv 2509.12394), as its code does it: scale only, no learned parameters.

    Args:
        dropout: fraction of the activations set to zero while learning, before the division.
        eps: added to the root.
    """

    def __init__(
        self, *, dropout: Fraction = 0.0, eps: Annotated[float, Field(ge=0)] = 1e-8
    ) -> None:
        super().__init__(dropout=dropout)
        self.eps = eps

    def normalise(self, x: Tensor) -> Tensor:
        """(N, C, H, W) with mean square 1 per row."""
        return rms_normalise(x, self.eps)
