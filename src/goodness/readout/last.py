from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from goodness.objective import BlockSpec
from goodness.readout.base import READOUTS, Readout
from goodness.types import PositiveInt


@READOUTS.register("last")
class Last(Readout):
    """The scores of the deepest block that has any, or the sum of the last blocks' scores.

    That sum and the sum of the blocks' log-probabilities differ by a number that is the same for
    all classes of an image: they answer alike, with the product of the blocks' probabilities.

    Args:
        specs: one per block.
        blocks: how many of the last blocks are added up; before these every block answers alone.
    """

    def __init__(self, specs: Sequence[BlockSpec], *, blocks: PositiveInt = 1) -> None:
        super().__init__(specs)
        self.first = len(specs) - blocks

    def needs(self, index: int, depth: int) -> bool:
        """On that block alone, or on the last blocks that are added up."""
        return index == depth or self.first <= index < depth

    def add(self, index: int, total: Tensor | None, extracted: Tensor | None) -> Tensor | None:
        """Replace the total by the newer scores, or add these to it."""
        if extracted is None:
            return total
        return extracted if total is None or index <= self.first else total + extracted
