from __future__ import annotations

import math

from torch import Tensor, nn

from goodness.objective.base import OBJECTIVES, BlockSpec, Objective
from goodness.types import PositiveInt, Shape


@OBJECTIVES.register("convolutional")
class Convolutional(Objective):
    """Cross-entropy of a small convolutional network on the coarsened map.

    The map is averaged to ``grid`` x ``grid`` cells; 3x3 convolutions, each with batch norm and
    GELU, halve it; a linear layer classifies all of the ``cells`` x ``cells`` that are left. A
    linear head on the global average teaches a block with at most K - 1 directions; one that looks
    at every cell through convolutions teaches with many, at a price that does not grow with the
    image.

    Args:
        spec: the block.
        grid: cells per side that the map is averaged to first.
        widths: channels of the convolutions.
        cells: per side, in front of the linear layer.
    """

    supports_label_smoothing = True
    supports_soft_labels = True

    def __init__(
        self,
        spec: BlockSpec,
        *,
        grid: PositiveInt = 4,
        widths: list[PositiveInt] = [128],  # noqa: B006
        cells: PositiveInt = 2,
    ) -> None:
        super().__init__()
        embedding, features = _embedding(spec.features, grid, widths, cells)
        self.head = nn.Sequential(*embedding, nn.Flatten(), nn.Linear(features, spec.num_classes))

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        scores: Tensor = self.head(h)
        return scores


def _embedding(
    features: Shape, grid: int, widths: list[int], cells: int
) -> tuple[list[nn.Module], int]:
    """Layers from a map (N, C, H, W) to a small one, and how many values that has."""
    channels, height, width = features
    height, width = min(grid, height), min(grid, width)
    layers: list[nn.Module] = []
    if (height, width) != features[1:]:
        layers.append(nn.AdaptiveAvgPool2d((height, width)))
    for outputs in widths:
        # Where a side has come down to the cells that are wanted it stays.
        stride = 2 if height > cells else 1, 2 if width > cells else 1
        layers += [
            nn.Conv2d(channels, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.GELU(),
        ]
        height, width = -(-height // stride[0]), -(-width // stride[1])
        channels = outputs
    small = min(cells, height), min(cells, width)
    if small != (height, width):
        layers.append(nn.AdaptiveAvgPool2d(small))
    return layers, channels * math.prod(small)
