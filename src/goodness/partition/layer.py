from __future__ import annotations

from goodness.partition.base import PARTITIONS
from goodness.partition.chain import Chain


@PARTITIONS.register("layer")
def layer(chain: Chain) -> set[int]:
    """A block per layer with weights, with its norm, activation and pooling.

    A residual block stays whole: inside it the data flow is more than one tensor.
    """
    places = [place for place in range(chain.head) if chain.atoms[place].layer]
    return {chain.layer_start(place) for place in places[1:]}
