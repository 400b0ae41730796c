from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.objective.classifier import feature_grid
from goodness.types import NonNegative, PositiveInt


@OBJECTIVES.register("anchors")
class Anchors(Objective):
    """Distance-Forward (arXiv 2408.14925): features near their class's anchor, far from the others.

    g_k = -|e - u_k|^2 with e the unit-length pooled features and u_k the unit-length anchor of
    class k. Over all wrong classes k (N-pair): mean of max(0, margin + g_k - g_y) + push * g_k.
    The anchors, the margin and the weight are ours.

    Args:
        spec: the block.
        anchors: ``"learned"``, or ``"random"``: drawn once and fixed.
        margin: by how much the true class has to lead, in squared distance (0 to 4).
        push: weight of the negative goodness itself.
        pool: cells per side that the map is averaged to; None keeps every pixel.
        most: average further until there are at most so many features.
        feedback: weight of the last block's error, projected onto the unit-length features by a
            fixed random matrix (DF-R); 0 leaves it out.
    """

    def __init__(
        self,
        spec: BlockSpec,
        *,
        anchors: Literal["learned", "random"] = "learned",
        margin: NonNegative = 0.5,
        push: NonNegative = 0.03,
        pool: PositiveInt | None = None,
        most: PositiveInt | None = 2048,
        feedback: NonNegative = 0.0,
    ) -> None:
        super().__init__()
        self.grid = feature_grid(spec.features, pool, most)
        self.margin = margin
        self.push = push
        self.feedback = feedback
        self.needs_later_scores = feedback > 0 and spec.index < spec.count - 1
        features = spec.features[0] * math.prod(self.grid)
        self.anchors = nn.Parameter(torch.randn(spec.num_classes, features), anchors == "learned")
        back = torch.randn(spec.num_classes, features) / features**0.5
        self.register_buffer("back", back if self.needs_later_scores else torch.empty(0))

    back: Tensor

    def embed(self, h: Tensor) -> Tensor:
        """Pooled features of unit length, (N, C, H, W) to (N, D)."""
        return F.normalize(F.adaptive_avg_pool2d(h, self.grid).flatten(1), dim=1)

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K), from -4 to 0."""
        cosine = self.embed(h) @ F.normalize(self.anchors, dim=1).T
        return 2 * cosine - 2  # of unit vectors, -|e - u|^2

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,)."""
        true = scores.gather(1, y[:, None])
        terms = F.relu(self.margin + scores - true) + self.push * scores
        wrong = 1 - F.one_hot(y, scores.shape[1]).to(scores.dtype)
        loss = (terms * wrong).sum(1) / (scores.shape[1] - 1)
        if self.needs_later_scores:
            loss = loss + self.feedback * (self.embed(h) * (context.error(y) @ self.back)).sum(1)
        return loss
