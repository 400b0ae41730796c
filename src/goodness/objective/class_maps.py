from __future__ import annotations

from torch import Tensor, nn

from goodness.functional import class_goodness, margin_loss
from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.types import NonNegative, PositiveInt


@OBJECTIVES.register("class-maps")
class ClassMaps(Objective):
    """SFF (arXiv 2501.03176): the class scores are the mean squares of one map per class.

    s_k = mean over (H, W) of q_k^2 with q = conv(h); the loss is log(1 + sum over k != y of
    exp(s_k - s_y + margin)). That it is this log-sum-exp, and the margin, are ours.

    Args:
        spec: the block.
        kernel: side of the convolution.
        margin: how far the true class has to lead; 0 is the cross-entropy of the scores.
    """

    supports_label_smoothing = True
    supports_soft_labels = True

    def __init__(
        self, spec: BlockSpec, *, kernel: PositiveInt = 1, margin: NonNegative = 1.0
    ) -> None:
        super().__init__()
        self.margin = margin
        self.masks = kernel == 1
        self.conv = nn.Conv2d(spec.features[0], spec.num_classes, kernel, padding="same")

    def maps(self, h: Tensor) -> Tensor:
        """Each class's goodness map, q^2: (N, C, H, W) to (N, K, H, W)."""
        return self.conv(h).square()

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        if self.conv.kernel_size == (1, 1) and self.conv.bias is not None:
            return class_goodness(h, self.conv.weight, self.conv.bias, self.rectified)
        return self.maps(h).mean((2, 3))

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,)."""
        return margin_loss(scores, y, self.margin, self.label_smoothing)
