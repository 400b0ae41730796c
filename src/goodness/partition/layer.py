from __future__ import annotations

from torch import nn

from goodness.partition.base import PARTITIONS, Piece, cut


@PARTITIONS.register("layer")
def layer(layers: nn.Sequential) -> list[Piece]:
    """A block per layer with weights: each convolution with its norm, activation and pooling."""
    starts = {
        name
        for name, module in layers.named_children()
        if any(isinstance(part, nn.Conv2d | nn.Linear) for part in module.modules())
    }
    return cut(layers, starts)
