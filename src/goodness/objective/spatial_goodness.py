from __future__ import annotations

import torch
from torch import Tensor, nn

from goodness.functional import goodness_grid, pooled_squares
from goodness.objective.base import OBJECTIVES, BlockSpec, Objective
from goodness.types import Positive, PositiveInt


@OBJECTIVES.register("spatial-goodness")
class SpatialGoodness(Objective):
    """ASGE (arXiv 2509.12394): cross-entropy on a fixed random projection of pooled squares.

    a = scale * (g R + b) with g the mean squares over a P x P grid (`pooled_squares`), R and b
    drawn once from N(0, 1) / sqrt(K) and never trained.

    Args:
        spec: the block.
        alpha: fineness of the grid; P = clamp(round(alpha * reference / C), 1, min(H, W)). The
            rounding for widths that do not divide is our choice, the paper's code has a table.
        reference: C_ref of the grid rule; None: the network's widest block.
        scale: logit scale. The paper's is 1, where the logits' spread grows as sqrt(C * P^2 / K).
        unit_scale: divide the logits by sqrt(C * P^2 / K), so that ``scale`` alone sets their
            spread whatever the width and the number of classes. Not in the paper.
        temperature: (lowest, highest) of a learned temperature that divides the logits, lowest +
            (highest - lowest) * sigmoid(t), t = 0 at first: DTG-FF (arXiv 2606.06539). None has
            no temperature, as ASGE.
    """

    projection: Tensor
    bias: Tensor

    masks = True
    supports_label_smoothing = True
    supports_soft_labels = True

    def __init__(
        self,
        spec: BlockSpec,
        *,
        alpha: Positive = 1.0,
        reference: PositiveInt | None = None,
        scale: Positive = 1.0,
        unit_scale: bool = False,
        temperature: tuple[Positive, Positive] | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = spec.features
        self.grid = goodness_grid(channels, reference or spec.widest, alpha, height, width)
        rows = channels * self.grid**2
        self.scale = scale * (spec.num_classes / rows) ** 0.5 if unit_scale else scale
        spread = spec.num_classes**-0.5
        self.register_buffer("projection", torch.randn(rows, spec.num_classes) * spread)
        self.register_buffer("bias", torch.randn(spec.num_classes) * spread)
        self.temperature = temperature
        self.warmth = None if temperature is None else nn.Parameter(torch.zeros(()))

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        logits = torch.addmm(self.bias, pooled_squares(h, self.grid), self.projection)
        if self.temperature is not None and self.warmth is not None:
            lowest, highest = self.temperature
            logits = logits / (lowest + (highest - lowest) * self.warmth.sigmoid())
        return logits if self.scale == 1.0 else logits * self.scale

    def facts(self) -> dict[str, int | float]:
        """The grid's side P."""
        return {"grid": self.grid}
