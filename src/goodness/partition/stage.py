from __future__ import annotations

from goodness.partition.base import PARTITIONS
from goodness.partition.block import block
from goodness.partition.chain import Chain


@PARTITIONS.register("stage")
def stage(chain: Chain) -> set[int]:
    """A block per resolution: consecutive blocks whose maps have the same size learn as one."""
    starts = sorted(block(chain))
    ends = [*starts, chain.head]
    sizes = [_size(chain, stop) for stop in ends]
    return {
        start
        for start, before, after in zip(starts, sizes, sizes[1:], strict=False)
        if before != after
    }


def _size(chain: Chain, stop: int) -> tuple[int, ...]:
    """The map's size, or the number of tokens, before it is pooled or flattened."""
    place = stop - 1
    while place > 0 and chain.shrinks(place):
        place -= 1
    shape = chain.atoms[place].shape
    return shape[1:] if len(shape) == 3 else shape[:-1]
