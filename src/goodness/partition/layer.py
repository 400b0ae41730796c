from __future__ import annotations

from torch import nn

from goodness.partition.base import PARTITIONS, Piece, cut


@PARTITIONS.register("layer")
def layer(layers: nn.Sequential) -> list[Piece]:
    """A block per layer with weights: each convolution with its norm, activation and pooling."""
    starts = {
        name
        for name, module in layers.named_children()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    return cut(layers, starts)
