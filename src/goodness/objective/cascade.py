from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from goodness.devices import wide
from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.objective.classifier import Classifier, feature_grid
from goodness.types import NonNegative, PositiveInt


@OBJECTIVES.register("least-squares")
class LeastSquares(Objective):
    """CaFo's closed form (arXiv 2303.09728): the linear map that is nearest to the one-hot labels.

    W solves (F'F + ridge * trace(F'F) / D * I) W = F'Y over all images of an epoch, streamed batch
    by batch and summed in float64. It is solved when the epoch ends; until then all scores are 0.

    Args:
        spec: the block.
        pool: cells per side that the map is averaged to; None keeps every pixel, as the paper does.
        most: average further until there are at most so many features, D; F'F has 8 D^2 bytes.
        ridge: relative to the features' mean square. The paper's code has none, and falls back to
            the pseudo-inverse where F'F is singular.
    """

    supports_class_weights = False
    weight: Tensor

    def __init__(
        self,
        spec: BlockSpec,
        *,
        pool: PositiveInt | None = None,
        most: PositiveInt | None = 8192,
        ridge: NonNegative = 1e-6,
    ) -> None:
        super().__init__()
        self.grid = feature_grid(spec.features, pool, most)
        self.ridge = ridge
        features = spec.features[0] * math.prod(self.grid)
        self.register_buffer("weight", torch.zeros(features, spec.num_classes))

    def features(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, D)."""
        return F.adaptive_avg_pool2d(h, self.grid).flatten(1)

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        return self.features(h) @ self.weight

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """Squared distance to the one-hot label, averaged over classes, (N,)."""
        return (scores - F.one_hot(y, scores.shape[1])).square().mean(1)

    @torch.no_grad()
    def observe(self, h: Tensor, y: Tensor) -> None:
        """Add the batch to F'F and F'Y."""
        f = wide(self.features(h))
        target = F.one_hot(y, self.weight.shape[1]).to(f)
        for name, product in (("FtF", f.T @ f), ("FtY", f.T @ target)):
            held = self.pending.get(name)
            self.pending[name] = product if held is None else held.add_(product)

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Solve for the weights and forget the sums."""
        if not self.pending:
            return
        gram, target = self.pending.pop("FtF"), self.pending.pop("FtY")
        gram.diagonal().add_(self.ridge * gram.diagonal().mean())
        factor, failed = torch.linalg.cholesky_ex(gram)
        pivots = factor.diagonal()
        if failed or pivots.min() < 1e-6 * pivots.max():  # singular, but for rounding
            found = torch.linalg.lstsq(gram.cpu(), target.cpu(), rcond=1e-12, driver="gelsd")
            self.weight.copy_(found.solution)
        else:
            self.weight.copy_(torch.cholesky_solve(target, factor))


@OBJECTIVES.register("direct-feedback")
class DirectFeedback(Classifier):
    """CaFo with direct feedback alignment: every block learns from the last block's error.

    A block's features move against the error of the last block's prediction, times a fixed
    random matrix; its own linear map is trained on detached features. The last
    block's error is its own. The paper describes it, its code does not have it; the formula is
    ours.

    Args:
        spec: the block.
        pool: cells per side that the map is averaged to; None keeps every pixel.
        most: average further until there are at most so many features.
    """

    back: Tensor

    def __init__(
        self, spec: BlockSpec, *, pool: PositiveInt | None = None, most: PositiveInt | None = 2048
    ) -> None:
        super().__init__(spec, pool=pool, most=most, init="zero")
        self.needs_later_scores = spec.index < spec.count - 1
        width = math.prod(spec.features)
        back = torch.randn(spec.num_classes, width) / width**0.5
        self.register_buffer("back", back if self.needs_later_scores else torch.empty(0))

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,): its gradient by h is the error times the random matrix."""
        if not self.needs_later_scores:
            return super().loss(h, scores, y, context)
        own = super().loss(h, self.scores(h.detach()), y, context)
        error = context.error(y, self.label_smoothing)
        return own + (h.flatten(1) * (error @ self.back)).sum(1)
