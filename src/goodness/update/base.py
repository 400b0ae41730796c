from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from goodness.registry import Registry

if TYPE_CHECKING:
    from goodness.network.block import Block

UPDATES: Registry[type[Update]]


class Update:
    """How the parameters of a segment get their gradient, in two phases.

    First the forward, with at least one loss, then the gradients:

        with update.recording(blocks):
            rows = ...
            if not update.records_body:
                rows = update.recorded(rows)
        update.backward(rows, factor)
    """

    records_body = True
    """Whether autograd records what happens inside the blocks' bodies."""
    adds = False
    """Whether gradients are added to those that are there, and the parts of a batch make the whole
    batch's."""

    differentiates = True
    """Whether it takes a derivative of a block's body."""
    evaluates = False
    """Whether `estimate` does anything."""

    def parameters(self, block: Block) -> list[nn.Parameter]:
        """What of a block is trained."""
        return list(block.parameters())

    recording: Callable[[Sequence[Block]], AbstractContextManager[object]] = nullcontext
    """Around the forward of a segment's blocks."""

    def recorded(self, rows: Tensor) -> Tensor:
        """The losses (rows, ...) as `backward` takes them; called while recording, where autograd
        does not record the bodies."""
        return rows

    def backward(self, rows: Tensor, factor: Tensor | None) -> None:
        """Leave the gradient of the mean of ``rows * factor`` in ``parameter.grad``.

        Gradients are None on entry. Of a batch that comes in parts (``micro_batch``) an update that
        `adds` finds the gradients of the parts before.

        Args:
            rows: losses (rows, ...), with graph.
            factor: broadcasts over them; None is 1.
        """
        raise NotImplementedError

    def estimate(
        self, blocks: Sequence[Block], losses: Callable[[], Tensor], draws: torch.Generator
    ) -> None:
        """Add what only further evaluations of the loss can tell; called after `backward`.

        Args:
            blocks: of the segment.
            losses: the weighted losses (rows, ...) of the same rows, whose mean counts, with the
                weights that the blocks have when it is called; buffers stay as they are.
            draws: where random numbers come from, a function of seed, step and block.
        """


UPDATES = Registry("update", __package__)
