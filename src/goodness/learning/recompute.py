"""Activation checkpointing: a block's inner activations are computed again in the backward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import cast

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from goodness.modes import kept_buffers
from goodness.network.network import Network
from goodness.seeds import Draws


def recomputed(network: Network, index: int, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """What a block's body computes and its output, of whose inner activations none is kept.

    Batch norms count the batch once.
    """

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        value = network.value(index, x, True, draws)
        return value, network.output(index, value, draws)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), kept_buffers(network[index])

    return cast(tuple[Tensor, Tensor], checkpoint(run, x, use_reentrant=False, context_fn=contexts))
