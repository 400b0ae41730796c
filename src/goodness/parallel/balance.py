"""Which blocks each rank trains."""

from __future__ import annotations

import math

import torch
from torch.utils.flop_counter import FlopCounterMode

from goodness.engine.network import Network


def cuts(network: Network) -> list[int]:
    """The blocks that another rank than that of the block before may train.

    No segment that learns, and nothing that one optimizer owns, reaches across.
    """
    reach: dict[int, range] = {}
    for segment in network.schedule.segments():
        own = reach.get(segment.owner, segment.blocks)
        reach[segment.owner] = range(
            min(own.start, segment.blocks.start), max(own.stop, segment.blocks.stop)
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
    network.eval()
    found = []
    x = network.present(torch.zeros(1, *network.image, device=network.device))
    for index, block in enumerate(network):
        with FlopCounterMode(display=False) as counter:
            for _, _, sent in network.walk(x, range(index, index + 1)):
                x = sent
        found.append(counter.get_total_flops() + ELEMENT * math.prod(block.spec.judged))
    return found
