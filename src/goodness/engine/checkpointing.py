"""Activation checkpointing: a block's inner activations are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


def checkpointed(run: Callable[[Tensor], T], x: Tensor, module: nn.Module) -> T:
    """``run(x)``, of whose inner activations none is kept.

    Args:
        run: draws its random numbers from generators that it seeds, or that are as they were.
        x: what is kept.
        module: whose batch norms shall count the batch once.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), counted_once(module)

    return cast(T, checkpoint(run, x, use_reentrant=False, context_fn=contexts))


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
