"""Activation checkpointing: a block's inner activations are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from goodness.engine.block import Block


def run_checkpointed(block: Block, x: Tensor) -> tuple[Tensor, Tensor]:
    """What the body computes and what is sent on, of which nothing in between is kept.

    Args:
        block: runs with gradients enabled.
        x: (rows, C, H, W).
    """

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        value = block.body(x)
        return value, block.send(value)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), counted_once(block)

    result = checkpoint(run, x, use_reentrant=False, context_fn=contexts)
    return cast(tuple[Tensor, Tensor], result)


@contextmanager
def counted_once(module: nn.Module) -> Iterator[None]:
    """Batch norms normalise by the batch, and leave their running statistics as they are."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, count in kept:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
