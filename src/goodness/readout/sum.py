from __future__ import annotations

from torch import Tensor

from goodness.readout.base import READOUTS, Readout


@READOUTS.register("sum")
class Sum(Readout):
    """The sum of the blocks' class scores."""

    def add(self, index: int, total: Tensor | None, taken: Tensor | None) -> Tensor | None:
        """Add the block's scores to the total."""
        if total is None or taken is None:
            return taken if total is None else total
        return total + taken
