"""What modules remember, changed for a while and put back: modes and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
def unchanged(modules: Sequence[nn.Module]) -> Iterator[None]:
    """A forward pass that leaves modules as they are: gradients go through them, not into them."""
    learnt = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        with kept_buffers(*modules):
            yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_()


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
