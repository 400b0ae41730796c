"""What modules remember, changed for a while and put back: modes and buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and then every submodule's own mode again."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextmanager
def kept_buffers(*modules: nn.Module) -> Iterator[None]:
    """Buffers as they were, afterwards: batch norms see a batch, and their statistics stay."""
    buffers = [buffer for module in modules for buffer in module.buffers()]
    kept = [(buffer, buffer.clone()) for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in kept:
            # By its data: a buffer that a backward pass waits for is not changed in its eyes.
            buffer.data.copy_(value)
