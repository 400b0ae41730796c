from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.types import Fraction, NonNegative, Positive


@OBJECTIVES.register("pair-goodness")
class PairGoodness(Objective):
    """Goodness of a row, high where the label in it is true and low where it is wrong.

    Hinton's Forward-Forward (arXiv 2212.13345); its values are those of the released code
    loweX/Forward-Forward unless said otherwise. Rows are positive ones, then as many negative.

    Args:
        spec: the block.
        goodness: ``"sum"`` of the squares of all D = C * H * W activities, or their ``"mean"``.
        threshold: what a positive row shall exceed and a negative fall short of, in units of D for
            a sum; None is 1 for a sum (the code's threshold is the width) and 2 for a mean (the
            choice of mpezeshki/pytorch_forward_forward).
        loss: ``"bce"``, the logistic loss of goodness minus threshold; ``"symba"``, Trifecta's
            softplus(-alpha (g_positive - g_negative)) on each image's pair, without a threshold.
        alpha: steepness of ``"symba"``.
        peer: weight of the peer normalisation, which keeps every unit's mean activity near the mean
            of all: mean over j of (mean(m) - m_j)^2, with m a running mean over positive rows.
        momentum: how much of m is kept at each step.
        collaborate: add the other blocks' goodness minus threshold, detached, inside the logistic
            (layer collaboration, arXiv 2305.12393, whose threshold is one for all of them).
    """

    activity: Tensor

    paired = True

    def __init__(
        self,
        spec: BlockSpec,
        *,
        goodness: Literal["sum", "mean"] = "sum",
        threshold: NonNegative | None = None,
        loss: Literal["bce", "symba"] = "bce",
        alpha: Positive = 4.0,
        peer: NonNegative = 0.0,
        momentum: Fraction = 0.9,
        collaborate: bool = False,
    ) -> None:
        super().__init__()
        width = math.prod(spec.features)
        self.index = spec.index
        self.goodness = goodness
        unit, default = (width, 1.0) if goodness == "sum" else (1, 2.0)
        self.threshold = unit * (default if threshold is None else threshold)
        self.kind = loss
        self.alpha = alpha
        self.peer = peer
        self.momentum = momentum
        self.needs_later_scores = collaborate
        self.coupled = peer > 0 or loss == "symba"
        self.register_buffer("activity", torch.full((width if peer else 0,), 0.5))

    def scores(self, h: Tensor) -> Tensor:
        """Goodness minus threshold, (rows, C, H, W) to (rows, 1)."""
        squares = h.square().flatten(1)
        g = squares.sum(1) if self.goodness == "sum" else squares.mean(1)
        return (g - self.threshold)[:, None]

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(2 * N,), or (N,) for ``"symba"``."""
        g = scores.squeeze(1)
        for index, other in enumerate(context.later_scores):
            if index != self.index and other is not None:
                g = g + other.squeeze(1)
        if self.kind == "symba":
            positive, negative = g.chunk(2)
            loss = F.softplus(-self.alpha * (positive - negative))
        else:
            positive_row = torch.arange(len(g), device=g.device) < len(y)
            loss = F.binary_cross_entropy_with_logits(g, positive_row.to(g.dtype), reduction="none")
        if self.peer:
            m = self._running(h[: len(y)])
            loss = loss + self.peer * (m.mean() - m).square().mean()
        return loss

    def _running(self, positive: Tensor) -> Tensor:
        """The running mean activity with this batch's share, which has the graph."""
        now = positive.flatten(1).mean(0)
        return self.momentum * self.activity + (1 - self.momentum) * now

    @torch.no_grad()
    def observe(self, h: Tensor, y: Tensor) -> None:
        """Keep the running mean."""
        if self.peer:
            self.activity.copy_(self._running(h[: len(y)]))
