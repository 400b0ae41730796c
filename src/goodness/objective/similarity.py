from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import similarity_matrix
from goodness.objective.base import OBJECTIVES, BlockSpec, Context
from goodness.objective.classifier import Classifier
from goodness.types import PositiveInt, Share


@OBJECTIVES.register("similarity")
class Similarity(Classifier):
    """PredSim (arXiv 1901.06656): local prediction and similarity matching.

    (1 - beta) * cross-entropy of a linear map of pooled features + beta * mean squared difference
    between the similarities of the batch's features and those of its labels. Features for the
    similarities are the standard deviations over positions of a trained 3x3 convolution's maps.

    Args:
        spec: the block.
        beta: weight of the similarity loss; 0 is "pred", 1 "sim" (whose scores stay untrained).
        most: features that the prediction may use; the map is averaged until there are no more.
    """

    def __init__(self, spec: BlockSpec, *, beta: Share = 0.99, most: PositiveInt = 2048) -> None:
        super().__init__(spec, pool=None, most=most, init="zero")
        self.beta = beta
        self.coupled = beta > 0
        self.supports_soft_labels = beta == 0  # similarities are no mean over labels
        self.num_classes = spec.num_classes
        channels, height, width = spec.features
        self.flat = channels <= 3 or height * width == 1
        kernel = 1 if height * width == 1 else 3
        self.conv = nn.Conv2d(channels, channels, kernel, padding="same", bias=False)

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,): row n's share of the N x N matrix's mean squared difference is its row's mean."""
        loss = (1 - self.beta) * super().loss(h, scores, y, context)
        if self.beta:
            v = self.conv(h)
            # Behind a square root, a constant map would have an infinite slope.
            spread = v.flatten(1) if self.flat else (v.var((2, 3)) + 1e-12).sqrt()
            target = similarity_matrix(F.one_hot(y, self.num_classes).to(h.dtype))
            loss = loss + self.beta * (similarity_matrix(spread) - target).square().mean(1)
        return loss
