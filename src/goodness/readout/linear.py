"""Readouts with trained linear maps of the blocks' outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.clock import Clock
from goodness.objective import BlockSpec
from goodness.partition.view import View
from goodness.readout.base import READOUTS, Readout
from goodness.types import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt

Init = Literal["kaiming", "zero"]


class LinearReadout(Readout):
    """One linear map per block of its average-pooled output.

    Args:
        specs: one per block.
        lr: learning rate; None: the blocks' own.
        weight_decay: None: the blocks' own.
        pool: cells per side that each map is averaged to before the linear map.
        skip: leading blocks without a map; the last block always has one.
        bias: whether the maps have one.
        init: ``"kaiming"`` as in ASGE's code, or ``"zero"`` as in Forward-Forward's.
        start: part of the run before it begins to learn, for blocks that are trained first.
    """

    trainable = True

    def __init__(
        self,
        specs: Sequence[BlockSpec],
        *,
        lr: Positive | None = None,
        weight_decay: NonNegative | None = None,
        pool: PositiveInt = 1,
        skip: NonNegativeInt = 0,
        bias: bool = True,
        init: Init = "kaiming",
        start: Fraction = 0.0,
    ) -> None:
        super().__init__(specs)
        self.start = start
        self._options = {"lr": lr, "weight_decay": weight_decay}
        self.skip = min(skip, len(specs) - 1)
        # Most outputs are maps already.
        views = (spec.output_view for spec in specs)
        self.views = [None if type(view) is View else view for view in views]
        self.pools = [min(pool, *spec.output[1:]) for spec in specs]
        self.maps = nn.ModuleList(
            _linear(spec.output[0] * side**2, spec.num_classes, bias, init)
            for spec, side in zip(specs[self.skip :], self.pools[self.skip :], strict=True)
        )

    def optimizer_options(self) -> dict[str, float]:
        """Those that were given."""
        return {name: value for name, value in self._options.items() if value is not None}

    def clock(self, clock: Clock) -> Clock:
        """The clock of its own part of the run; its step is negative before."""
        return clock.inside(int(self.start * clock.steps), clock.steps)

    def activation_map(self, index: int, output: Tensor, k: int) -> Tensor | None:
        """Class activation map: what each position of block ``index`` adds to class ``k``'s score.

        Args:
            index: the block.
            output: of the block, for one image.
            k: the class.

        Returns:
            (H, W), whose mean is the block's share of the score but for the bias where H and W
            divide into the pooling's cells; None for a block that has no map.
        """
        if index < self.skip:
            return None
        side = self.pools[index]
        weight = self.maps[index - self.skip].get_parameter("weight")[k].detach()
        weight = weight.reshape(1, -1, side, side)
        features = self._map(index, output)
        # Each position has the weights of its cell, and there are side^2 cells.
        weight = F.interpolate(weight, size=features.shape[2:], mode="nearest") * side**2
        return (weight * features).sum(1)[0]

    def _map(self, index: int, output: Tensor) -> Tensor:
        """A block's output as a map (N, C, H, W) in float32."""
        view = self.views[index]
        return (output if view is None else view(output)).float()

    def extract(self, index: int, scores: Tensor | None, output: Tensor) -> Tensor | None:
        """Pooled features (N, C * pool^2) in float32."""
        if index < self.skip:
            return None
        features = self._map(index, output)
        return F.adaptive_avg_pool2d(features, self.pools[index]).flatten(1)


def _linear(features: int, num_classes: int, bias: bool, init: Init) -> nn.Linear:
    linear = nn.Linear(features, num_classes, bias)
    if init == "zero":
        nn.init.zeros_(linear.weight)
    else:
        nn.init.kaiming_normal_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


@READOUTS.register("fusion")
class Fusion(LinearReadout):
    """The sum of one linear map per block, learnt jointly: a classifier on all blocks' features.

    ASGE's trained fusion (every block but the first: ``skip=1``) and Forward-Forward's softmax on
    the concatenated activities of all layers but the first. The features are the
    blocks' outputs (pooled, dropped out, normalised).
    """

    def add(self, index: int, total: Tensor | None, extracted: Tensor | None) -> Tensor | None:
        """Add the block's own linear map of its features."""
        if extracted is None:
            return total
        mapped = self.maps[index - self.skip](extracted)
        return mapped if total is None else total + mapped


@READOUTS.register("output")
class Output(Fusion):
    """A linear output layer on the last block alone.

    Args:
        specs: one per block.
        lr: learning rate; None: the blocks' own.
        weight_decay: None: the blocks' own.
        pool: cells per side that the map is averaged to.
        bias: whether it has one.
        init: of its weights.
        start: part of the run before it begins to learn.
    """

    def __init__(
        self,
        specs: Sequence[BlockSpec],
        *,
        lr: Positive | None = None,
        weight_decay: NonNegative | None = None,
        pool: PositiveInt = 1,
        bias: bool = True,
        init: Init = "zero",
        start: Fraction = 0.0,
    ) -> None:
        own = {"lr": lr, "weight_decay": weight_decay}
        super().__init__(
            specs, **own, pool=pool, skip=len(specs), bias=bias, init=init, start=start
        )


@READOUTS.register("probe")
class Probe(LinearReadout):
    """Linear probes: every block's features are classified on their own.

    For methods whose blocks have no class scores of their own, such as backprop.
    """

    per_block_scores = True

    def needs(self, index: int, depth: int) -> bool:
        """On that block alone."""
        return index == depth

    def add(self, index: int, total: Tensor | None, extracted: Tensor | None) -> Tensor | None:
        """The block's own linear map, whatever came before."""
        return total if extracted is None else self.maps[index - self.skip](extracted)

    def loss(self, totals: Sequence[Tensor | None], y: Tensor) -> Tensor:
        """The sum of the probes' cross-entropies; each depends on its own map alone."""
        losses = [self.cross_entropy(total, y) for total in totals if total is not None]
        return torch.stack(losses).sum()
