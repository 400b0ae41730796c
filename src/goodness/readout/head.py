from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from goodness.errors import InputError
from goodness.objective import BlockSpec
from goodness.readout.base import READOUTS, Readout


@READOUTS.register("head")
class Head(Readout):
    """The model's own classifier, trained on the last block's output.

    With it the network's weights are those of a whole model again; no gradient leaves it.

    Args:
        specs: one per block; the last one holds the classifier.

    Raises:
        InputError: the model has none.
    """

    trainable = True
    trains_classifier = True

    def __init__(self, specs: Sequence[BlockSpec]) -> None:
        super().__init__(specs)
        if specs[-1].head is None:
            raise InputError("readout 'head': this model has no classifier of its own")
        self.head = specs[-1].head
        self.last = len(specs) - 1

    def extract(self, index: int, scores: Tensor | None, output: Tensor) -> Tensor | None:
        """The last block's output, which the classifier maps to scores."""
        return output.float() if index == self.last else None

    def add(self, index: int, total: Tensor | None, extracted: Tensor | None) -> Tensor | None:
        """The classifier's scores (N, K) at the last block."""
        if extracted is None:
            return total
        scores: Tensor = self.head(extracted)
        return scores
