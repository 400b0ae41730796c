from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import sparsemax_loss
from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.types import PositiveInt, Shape

Init = Literal["default", "zero", "ones"]


@OBJECTIVES.register("classifier")
class Classifier(Objective):
    """A trained linear map of the (average-pooled) features to class scores.

    With ``pool=1`` the usual head of a backprop network. With ``most`` PredSim's local prediction
    (arXiv 1901.06656). Without pooling and bias Mono-Forward's projection (arXiv 2501.09238).

    Args:
        spec: the block.
        pool: cells per side that the map is averaged to; None keeps every pixel.
        most: average further, halving height and width in turn, until there are at most so many
            features.
        loss: ``"ce"``, or ``"sparsemax"``.
        bias: whether the map has one.
        init: of the weights.
        own: at the last block the model's own classifier, if it has one, instead of a new map.
    """

    supports_soft_labels = True

    def __init__(
        self,
        spec: BlockSpec,
        *,
        pool: PositiveInt | None = 1,
        most: PositiveInt | None = None,
        loss: Literal["ce", "sparsemax"] = "ce",
        bias: bool = True,
        init: Init = "default",
        own: bool = False,
    ) -> None:
        super().__init__()
        self.kind = loss
        self.supports_label_smoothing = loss == "ce"
        self.view = spec.feature_view
        self.classifier = spec.head if own else None
        if self.classifier is not None:
            return
        self.grid = feature_grid(spec.features, pool, most)
        features = spec.features[0] * math.prod(self.grid)
        self.linear = nn.Linear(features, spec.num_classes, bias)
        if init != "default":
            nn.init.constant_(self.linear.weight, float(init == "ones"))
            if bias:
                nn.init.zeros_(self.linear.bias)

    @classmethod
    def uses_classifier(cls, options: Mapping[str, Any]) -> bool:
        """With ``own``."""
        return bool(options.get("own"))  # subclasses lack it

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        if self.classifier is not None:
            return self.classifier(self.view.gather(h))
        return self.linear(self.pooled(h).flatten(1))

    def pooled(self, h: Tensor) -> Tensor:
        """What the linear map is given, (N, C, H, W) to (N, C, P, Q)."""
        return F.adaptive_avg_pool2d(h, self.grid)

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,)."""
        if self.kind == "sparsemax":
            return sparsemax_loss(scores, y)
        return super().loss(h, scores, y, context)


def feature_grid(features: Shape, pool: int | None, most: int | None = None) -> tuple[int, int]:
    """The cells that a map is averaged to before a linear map.

    >>> feature_grid((128, 32, 32), None, 2048)
    (4, 4)
    """
    channels, height, width = features
    if pool is not None:
        height, width = min(pool, height), min(pool, width)
    turn = 0
    while most is not None and channels * height * width > most and height * width > 1:
        # PredSim doubles the pooling kernel in height and width alternately.
        if (turn % 2 == 0 and height > 1) or width == 1:
            height = (height + 1) // 2
        else:
            width = (width + 1) // 2
        turn += 1
    return height, width
