from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from goodness.errors import InputError
from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.types import Finite, NonNegative


@OBJECTIVES.register("self-contrast")
class SelfContrast(Objective):
    """Self-Contrastive Forward-Forward (Nat. Commun. 2025): an image with itself, or with another.

    With y the mean over channels of the squared activities at a position: softplus(low - y) for
    rows that hold an image twice, softplus(y - high) for those that hold two, averaged over
    positions, plus decay * |y|. No labels are used, and a block has no class scores.

    Args:
        spec: the block.
        levels: (low, high) of every block; a single pair is for all. The released values for
            CIFAR-10 are (0, 1), (5, 9), (6, 10) for its three blocks.
        decay: weight of the norm of y.
    """

    paired = True

    def __init__(
        self,
        spec: BlockSpec,
        *,
        levels: list[tuple[Finite, Finite]] = [(0.0, 1.0), (5.0, 9.0), (6.0, 10.0)],  # noqa: B006
        decay: NonNegative = 0.0,
    ) -> None:
        super().__init__()
        if not levels:
            raise InputError("objective.levels: at least one (low, high) is needed")
        # Deeper networks go on with the last pair.
        self.low, self.high = levels[min(spec.index, len(levels) - 1)]
        self.decay = decay

    def scores(self, h: Tensor) -> Tensor:
        """The mean square, (rows, C, H, W) to (rows, 1): how well a row agrees with itself."""
        return h.square().mean((1, 2, 3))[:, None]

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(2 * N,)."""
        g = h.square().mean(1)
        alike = F.softplus(self.low - g[: len(y)])
        different = F.softplus(g[len(y) :] - self.high)
        loss = torch.cat([alike, different]).mean((1, 2))
        if self.decay:
            loss = loss + self.decay * g.flatten(1).norm(dim=1)
        return loss
