from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.objective.base import OBJECTIVES, Objective, Spec


@OBJECTIVES.register("classifier")
class Classifier(Objective):
    """The usual head of a backprop network: average pooling, a linear layer, cross-entropy.

    Args:
        spec: the block.
        pool: cells per side that the map is averaged to; 1 is global average pooling.
    """

    def __init__(self, spec: Spec, *, pool: Annotated[int, Field(ge=1)] = 1) -> None:
        super().__init__()
        channels, height, width = spec.judged
        self.pool = min(pool, height, width)
        self.linear = nn.Linear(channels * self.pool**2, spec.classes)

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        return self.linear(F.adaptive_avg_pool2d(h, self.pool).flatten(1))
