"""Which blocks each rank trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

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
def costs(network: Network) -> list[int]:
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


def balanced(costs: Sequence[float], cuts: Sequence[int], parts: int) -> list[range]:
    """Consecutive ranges, of which the most expensive one is as cheap as can be.

    Args:
        costs: of every place.
        cuts: places where a range may begin, beside the first.
        parts: how many ranges; at most one more than there are cuts.

    >>> balanced([4, 1, 1, 2], [1, 2, 3], 2)
    [range(0, 1), range(1, 4)]
    """
    bounds = [0, *cuts, len(costs)]
    until = [0, *accumulate(costs)]
    # For every number of parts and every bound: the lowest cost up to there, and the cuts for it.
    best: dict[int, tuple[float, tuple[int, ...]]] = {
        bound: (until[bound], (0, bound)) for bound in bounds[1:]
    }
    for _ in range(parts - 1):
        best = {
            stop: min(
                (max(cost, until[stop] - until[start]), (*ends, stop))
                for start, (cost, ends) in best.items()
                if start < stop
            )
            for stop in bounds
            if any(start < stop for start in best)
        }
    return [range(start, stop) for start, stop in pairwise(best[len(costs)][1])]
