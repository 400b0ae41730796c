from __future__ import annotations

from torch import Tensor

from goodness.readout.base import READOUTS, Readout


@READOUTS.register("last")
class Last(Readout):
    """The scores of the deepest block that has any."""

    def add(self, index: int, total: Tensor | None, extracted: Tensor | None) -> Tensor | None:
        """Replace the total by the newer scores."""
        return total if extracted is None else extracted
