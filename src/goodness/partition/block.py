from __future__ import annotations

from torch import nn

from goodness.partition.base import PARTITIONS, Piece, cut, is_pool


@PARTITIONS.register("block")
def block(layers: nn.Sequential) -> list[Piece]:
    """A block per resolution: all layers up to and including a pooling learn from one loss."""
    starts: set[str] = set()
    after_pool = False
    for name, module in layers.named_children():
        if after_pool:
            starts.add(name)
        after_pool = is_pool(module)
    return cut(layers, starts)
