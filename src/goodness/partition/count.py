from __future__ import annotations

from itertools import pairwise
from typing import Literal

from goodness.errors import InputError
from goodness.partition.balanced import balanced
from goodness.partition.base import PARTITIONS
from goodness.partition.block import block
from goodness.partition.chain import Chain
from goodness.partition.layer import layer
from goodness.types import PositiveInt


@PARTITIONS.register("count")
def count(
    chain: Chain, *, blocks: PositiveInt = 4, by: Literal["flops", "memory"] = "flops"
) -> set[int]:
    """So many blocks of about equal cost.

    Residual blocks stay whole where there are enough of them; otherwise layers are counted. The
    most expensive block is as cheap as can be.

    Args:
        chain: what to cut.
        blocks: how many.
        by: what a block costs: floating-point operations, or bytes that it keeps for its backward
            pass, of which there are most where maps are large (InfoPro*, arXiv 2101.10832).

    Raises:
        InputError: the network has fewer layers that can be told apart.
    """
    for rule in (block, layer):
        starts = sorted(rule(chain) & chain.starts)
        if len(starts) + 1 >= blocks:
            break
    else:
        raise InputError(
            f"partition.blocks: {type(chain.module).__name__} can be cut into at most"
            f" {len(starts) + 1} blocks, not {blocks}"
        )
    bounds = [0, *starts, chain.head]
    cost = chain.flops if by == "flops" else chain.memory
    costs = [sum(cost[first:stop]) for first, stop in pairwise(bounds)]
    whole = balanced(costs, range(1, len(costs)), blocks)
    return {bounds[part.start] for part in whole} - {0}
