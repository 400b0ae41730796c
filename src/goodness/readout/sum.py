from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from goodness.functional import sparsemax
from goodness.objective import BlockSpec
from goodness.readout.base import READOUTS, Readout
from goodness.types import NonNegativeInt


@READOUTS.register("sum")
class Sum(Readout):
    """The sum of the blocks' class scores.

    Args:
        specs: one per block.
        of: the scores themselves, or each block's ``"softmax"`` or ``"sparsemax"`` of them (CaFo).
        skip: leading blocks that are left out, but never the last one: Forward-Forward's first, in
            DeeperForward a number chosen on validation.
    """

    def __init__(
        self,
        specs: Sequence[BlockSpec],
        *,
        of: Literal["scores", "softmax", "sparsemax"] = "scores",
        skip: NonNegativeInt = 0,
    ) -> None:
        super().__init__(specs)
        self.of = of
        self.skip = min(skip, len(specs) - 1)

    def add(self, index: int, total: Tensor | None, extracted: Tensor | None) -> Tensor | None:
        """Add the block's scores to the total."""
        if extracted is None or index < self.skip:
            return total
        own = extracted
        if self.of != "scores":
            own = extracted.softmax(1) if self.of == "softmax" else sparsemax(extracted)
        return own if total is None else total + own
