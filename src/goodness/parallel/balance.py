"""Which blocks each rank trains."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from goodness.modes import evaluating
from goodness.network.network import Network


def cuts(network: Network) -> list[int]:
    """The blocks that another rank than that of the block before may train.

    No segment that learns, and nothing that one optimizer owns, reaches across.
    """
    reach: dict[int, range] = {}
    for segment in network.plan.segments():
        own = reach.get(segment.owner, segment.blocks)
        reach[segment.owner] = range(
            min(own.start, segment.blocks.start),
            max(own.stop, segment.blocks.stop, segment.through.stop),
        )
    return [
        index
        for index in range(1, len(network))
        if not any(blocks.start < index < blocks.stop for blocks in reach.values())
    ]


ELEMENT = 800
"""FLOPs of a convolution that take as long as judging, normalising and sending on one element of
its map; so on a CPU, where `goodness profile` tells it."""


@torch.no_grad()
def loads(network: Network) -> list[int]:
    """What every block costs for one image: FLOPs of its forward and its scores, and its map."""
    x = network.query_rows(torch.zeros(1, *network.image_shape, device=network.device))
    flops = block_flops(network, x, scores=True)
    maps = [math.prod(block.spec.features) for block in network]
    return [own + ELEMENT * size for own, size in zip(flops, maps, strict=True)]


@torch.no_grad()
def block_flops(network: Network, rows: Tensor, scores: bool = False) -> list[int]:
    """Floating-point operations of every block for some rows, in evaluation mode.

    Args:
        network: the network.
        rows: that enter block 0.
        scores: whether those of the objectives' scores count too.
    """
    found = []
    with evaluating(network):
        for index, block in enumerate(network):
            with FlopCounterMode(display=False) as counter:
                for _, value, output in network.walk(rows, [index]):
                    rows = output
                    if scores:
                        block.scores(value)
            found.append(counter.get_total_flops())
    return found
