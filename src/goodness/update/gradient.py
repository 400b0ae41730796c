from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from goodness.update.base import UPDATES, Update

if TYPE_CHECKING:
    from goodness.network.block import Block


@UPDATES.register("gradient")
class Gradient(Update):
    """Reverse-mode autograd inside the segment."""

    adds = True

    def backward(self, rows: Tensor, factor: Tensor | None) -> None:
        """One backward pass that ends at the segment's detached input."""
        if rows.requires_grad:  # not so for a head that is solved instead of trained
            (rows if factor is None else rows * factor).mean().backward()


@UPDATES.register("heads")
class Heads(Gradient):
    """The heads alone are trained; the blocks stay as they were drawn."""

    records_body = False
    differentiates = False

    def parameters(self, block: Block) -> list[nn.Parameter]:
        """The objective's."""
        return [] if block.objective is None else list(block.objective.parameters())
