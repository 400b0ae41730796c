from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor, nn

from goodness.registry import Registry

if TYPE_CHECKING:
    from goodness.engine.block import Block

UPDATES: Registry[type[Update]]


@dataclass
class Outcome:
    """What came out of one segment's forward; lists are in the order of its blocks."""

    rows: Tensor | None
    """The losses of the judged blocks added up, (rows,) or (rows, ...), with graph."""
    losses: list[Tensor | None]
    """Mean loss of each block, detached; None where it is not judged."""
    scores: list[Tensor | None]
    """Scores of each block, detached."""
    sent: list[Tensor]
    """What each block sends on, detached; at first without the last one's."""
    value: Tensor | None
    """What the last block's body computed, detached, until it is sent on."""
    observed: dict[int, Tensor] = field(default_factory=dict)
    """By block, what its objective is to `observe`, detached; none where it observes nothing."""


class Update:
    """Runs a segment and leaves the gradient of its mean loss in ``parameter.grad``."""

    records_body = True
    """Whether autograd records what happens inside the blocks' bodies."""
    adds = False
    """Whether gradients are added to those that are there, and the parts of a batch make the whole
    batch's."""

    def parameters(self, block: Block) -> list[nn.Parameter]:
        """What of a block is trained."""
        return list(block.parameters())

    def __call__(self, run: Callable[[], Outcome], blocks: Sequence[Block]) -> Outcome:
        """Call ``run()`` and fill the gradients, which are None on entry.

        Of a batch that comes in parts (``micro_batch``) an update that `adds` is called once for
        each, and finds the gradients of those before.

        Args:
            run: forward of one segment with at least one judged block.
            blocks: the segment's blocks.

        Returns:
            The outcome whose activations are passed on.
        """
        raise NotImplementedError


UPDATES = Registry("update", __package__)
