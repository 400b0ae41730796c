from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import similarity_matrix
from goodness.objective.base import OBJECTIVES, BlockSpec, Context
from goodness.objective.classifier import Classifier
from goodness.types import PositiveInt, Shape, Share


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
        padded: how a map is averaged whose sides are no multiples of the cells': by cells of equal
            size, with zeros around the map, as the released code does it on 28 pixels; else by
            cells of nearly equal size, without zeros.
    """

    def __init__(
        self,
        spec: BlockSpec,
        *,
        beta: Share = 0.99,
        most: PositiveInt = 2048,
        padded: bool = False,
    ) -> None:
        super().__init__(spec, pool=None, most=most, init="zero")
        self.cells = _padded_cells(spec.features, self.grid) if padded else None
        self.beta = beta
        self.coupled = beta > 0
        self.supports_soft_labels = beta == 0  # similarities are no mean over labels
        self.num_classes = spec.num_classes
        channels, height, width = spec.features
        self.flat = channels <= 3 or height * width == 1
        kernel = 1 if height * width == 1 else 3
        self.conv = nn.Conv2d(channels, channels, kernel, padding="same", bias=False)

    def pooled(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, P, Q)."""
        return super().pooled(h) if self.cells is None else self.cells(h)

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


def _padded_cells(features: Shape, cells: tuple[int, int]) -> nn.AvgPool2d:
    """A pooling of sides that were halved, rounded up, until so many cells were left."""
    (height, above), (width, left) = map(_padded_side, features[1:], cells)
    return nn.AvgPool2d((height, width), padding=(above, left))


def _padded_side(side: int, cells: int) -> tuple[int, int]:
    """The side of a cell and the zeros before the first one."""
    kernel = 1 << ((side - 1).bit_length() - (cells - 1).bit_length())
    # Half a cell on either side where a row of cells is longer than the map; its last pixels may
    # then be left out, as in the released code.
    return kernel, kernel // 2 if cells > side // kernel else 0
