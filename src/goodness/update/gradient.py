from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from goodness.update.base import UPDATES, Outcome, Update

if TYPE_CHECKING:
    from goodness.engine.block import Block


@UPDATES.register("gradient")
class Gradient(Update):
    """Reverse-mode autograd inside the segment."""

    adds = True

    def __call__(self, run: Callable[[], Outcome], blocks: Sequence[Block]) -> Outcome:
        """One forward, one backward that ends at the segment's detached input."""
        outcome = run()
        assert outcome.rows is not None
        if outcome.rows.requires_grad:  # not so for a head that is solved instead of trained
            outcome.rows.mean().backward()
        return outcome


@UPDATES.register("heads")
class Heads(Gradient):
    """The heads alone are trained; the blocks stay as they were drawn."""

    records_body = False

    def parameters(self, block: Block) -> list[nn.Parameter]:
        """The objective's."""
        return [] if block.objective is None else list(block.objective.parameters())
