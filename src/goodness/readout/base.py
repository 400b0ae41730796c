from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from goodness.clock import Clock
from goodness.functional import at_labels
from goodness.objective import BlockSpec
from goodness.registry import Registry

READOUTS: Registry[type[Readout]]


class Readout(nn.Module):
    """A fold over the blocks: class scores after every depth, the totals.

    Args:
        specs: one per block.
    """

    trainable = False
    """Whether it has weights of its own, trained on detached features."""
    per_block_scores = False
    """Whether its total at a depth is of that block alone, for blocks without scores."""
    trains_classifier = False
    """Whether what it trains is the model's own classifier."""
    label_smoothing = 0.0
    """Share of a trained readout's target that is spread evenly over all classes."""
    class_weights: Tensor | None = None
    """(K,) on a trained readout's losses."""

    def __init__(self, specs: Sequence[BlockSpec]) -> None:
        super().__init__()

    def extract(self, index: int, scores: Tensor | None, output: Tensor) -> Tensor | None:
        """What is kept of block ``index``: by default its class scores.

        Args:
            index: the block.
            scores: (N, K), or None where the block has none.
            output: the block's output, detached while it learns; `BlockSpec.output_view` makes a
                map of it.
        """
        return scores

    @property
    def needs_scores(self) -> bool:
        """Whether it extracts nothing of a block but its class scores."""
        return type(self).extract is Readout.extract

    def needs(self, index: int, depth: int) -> bool:
        """Whether its total after block ``depth`` depends on what is extracted of block ``index``.

        By default on all blocks up to there; where it does not, an early answer saves a head.
        """
        return index <= depth

    def add(self, index: int, total: Tensor | None, extracted: Tensor | None) -> Tensor | None:
        """The total (N, K) after block ``index``; None before the first block that has scores."""
        raise NotImplementedError

    def forward(self, extracted: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Totals after every block, from what was extracted of every block."""
        totals: list[Tensor | None] = []
        total = None
        for index, item in enumerate(extracted):
            total = self.add(index, total, item)
            totals.append(total)
        return totals

    def loss(self, totals: Sequence[Tensor | None], y: Tensor) -> Tensor:
        """The scalar that a trained readout minimises, by default the deepest total's."""
        assert totals[-1] is not None
        return self.cross_entropy(totals[-1], y)

    def cross_entropy(self, scores: Tensor, y: Tensor) -> Tensor:
        """Of scores (N, K) and labels (N,), or soft ones (N, K), a scalar."""
        weights, smoothing = self.class_weights, self.label_smoothing
        if y.dim() == 1 or weights is None:
            return F.cross_entropy(scores, y, weight=weights, label_smoothing=smoothing)
        # Of soft labels torch would divide by the number of images, not by their weights.
        losses = F.cross_entropy(
            scores, y, weight=weights, label_smoothing=smoothing, reduction="sum"
        )
        return losses / at_labels(weights, y).sum()

    def optimizer_options(self) -> dict[str, float]:
        """Options of a trained readout's optimizer that differ from the blocks'."""
        return {}

    def clock(self, clock: Clock) -> Clock:
        """The clock that a trained readout's learning rate follows."""
        return clock

    def started(self, clock: Clock) -> bool:
        """Whether a trained readout learns at this step."""
        return self.clock(clock).step >= 0


READOUTS = Registry("readout", __package__)
