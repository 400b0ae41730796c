from __future__ import annotations

from torch import Tensor

from goodness.readout.base import READOUTS, Readout


@READOUTS.register("last")
class Last(Readout):
    """The scores of the deepest block that has any."""

    def add(self, index: int, total: Tensor | None, taken: Tensor | None) -> Tensor | None:
        """Replace the total by the newer scores."""
        return total if taken is None else taken
