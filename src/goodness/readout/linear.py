"""Readouts with trained linear maps on what the blocks send on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.objective import Spec
from goodness.readout.base import READOUTS, Readout

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class LinearReadout(Readout):
    """One linear map per block on the average-pooled activations that the block sends on.

    Args:
        specs: one per block.
        lr: learning rate; None takes the blocks' own.
        pool: cells per side that each map is averaged to before the linear map.
        skip: leading blocks without a map.
    """

    learns = True

    def __init__(
        self,
        specs: Sequence[Spec],
        *,
        lr: Rate | None = None,
        pool: Annotated[int, Field(ge=1)] = 1,
        skip: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(specs)
        self.lr = lr
        self.skip = min(skip, len(specs) - 1)
        self.pools = [min(pool, *spec.sent[1:]) for spec in specs]
        self.maps = nn.ModuleList(
            _linear(spec.sent[0] * side**2, spec.classes)
            for spec, side in zip(specs[self.skip :], self.pools[self.skip :], strict=True)
        )

    def take(self, index: int, scores: Tensor | None, sent: Tensor) -> Tensor | None:
        """Pooled features (N, C * pool^2) in float32, cut off from the block's graph."""
        if index < self.skip:
            return None
        return F.adaptive_avg_pool2d(sent.detach().float(), self.pools[index]).flatten(1)


def _linear(features: int, classes: int) -> nn.Linear:
    """A linear map, initialised as in ASGE's code."""
    linear = nn.Linear(features, classes)
    nn.init.kaiming_normal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


@READOUTS.register("fusion")
class Fusion(LinearReadout):
    """ASGE's trained fusion: the sum of one linear map per block, learnt jointly.

    As in the released code, every block but the first takes part and the features are what the
    block sends on (pooled, dropped out, normalised).
    """

    def __init__(
        self,
        specs: Sequence[Spec],
        *,
        lr: Rate | None = None,
        pool: Annotated[int, Field(ge=1)] = 1,
        skip: Annotated[int, Field(ge=0)] = 1,
    ) -> None:
        super().__init__(specs, lr=lr, pool=pool, skip=skip)

    def add(self, index: int, total: Tensor | None, taken: Tensor | None) -> Tensor | None:
        """Add the block's own linear map of its features."""
        if taken is None:
            return total
        mapped = self.maps[index - self.skip](taken)
        return mapped if total is None else total + mapped

    def loss(self, totals: Sequence[Tensor | None], y: Tensor) -> Tensor:
        """Cross-entropy of the deepest total."""
        assert totals[-1] is not None
        return F.cross_entropy(totals[-1], y)


@READOUTS.register("probe")
class Probe(LinearReadout):
    """Linear probes: every block's features are classified on their own.

    It tells what a block knows where the method gives it no class scores, as in backprop.
    """

    speaks_for_blocks = True

    def add(self, index: int, total: Tensor | None, taken: Tensor | None) -> Tensor | None:
        """The block's own linear map, whatever came before."""
        return total if taken is None else self.maps[index - self.skip](taken)

    def loss(self, totals: Sequence[Tensor | None], y: Tensor) -> Tensor:
        """The sum of the probes' cross-entropies; each depends on its own map alone."""
        losses = [F.cross_entropy(total, y) for total in totals if total is not None]
        return torch.stack(losses).sum()
