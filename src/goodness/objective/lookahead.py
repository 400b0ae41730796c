"""Heads made of copies of later layers: what a block is to prepare for judges it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from goodness.modes import evaluating
from goodness.objective.auxiliary import Head, head_network
from goodness.objective.base import OBJECTIVES, BlockSpec, Objective
from goodness.objective.classifier import Classifier
from goodness.partition.pieces import Section
from goodness.partition.view import View
from goodness.types import Inside, NonNegativeInt, PositiveInt, Shape, Share


class Stage(nn.Module):
    """A copy of a section of the network, of maps (N, C, H, W) to maps.

    Maps that are larger than what the section takes are averaged, and another number of channels is
    adapted by a 1x1 convolution with a batch norm.

    Args:
        section: what to copy; the copy starts with its weights.
        shape: (C, H, W) of the maps that come.
        shrink: they are averaged to this part of the section's own height and width.
    """

    def __init__(self, section: Section, shape: Shape, shrink: int) -> None:
        super().__init__()
        self.layers = copy.deepcopy(section.layers).to(torch.get_default_device())
        self.input, self.output = section.input, section.output
        channels, *size = section.shape
        if type(section.input) is View:
            size = [-(-side // shrink) for side in size]
        size = [min(pair) for pair in zip(size, shape[1:], strict=True)]
        fit: list[nn.Module] = []
        if size != list(shape[1:]):
            fit.append(nn.AdaptiveAvgPool2d((size[0], size[1])))
        if channels != shape[0]:
            conv = nn.Conv2d(shape[0], channels, 1, bias=False)
            fit += [conv, nn.BatchNorm2d(channels)]
        self.fit = nn.Sequential(*fit)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        return self.output.spread(self.layers(self.input.gather(self.fit(x))))


def stages(sections: Sequence[Section], shape: Shape, shrink: int) -> tuple[nn.Sequential, Shape]:
    """Copies of sections in a row, and the shape (C, H, W) of what they give.

    Args:
        sections: what to copy.
        shape: (C, H, W) of the maps that come.
        shrink: as in `Stage`; layers that take maps of one size alone get that one.
    """
    made = []
    for section in sections:
        for factor in dict.fromkeys((shrink, 1)):
            stage = Stage(section, shape, factor)
            try:
                given = shape_of(stage, shape)
                break
            except RuntimeError:  # a fully connected layer, say
                if factor == 1:
                    raise
        made.append(stage)
        shape = given
    return nn.Sequential(*made), shape


@torch.no_grad()
def shape_of(module: nn.Module, shape: Shape) -> Shape:
    """(C, H, W) of the maps that a module makes of maps of ``shape``."""
    with evaluating(module):
        _, channels, height, width = module(torch.zeros(1, *shape)).shape
    return channels, height, width


class Tail(nn.Module):
    """From a block's features to what the next block takes, as maps; it has no parameters."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        assert spec.later is not None
        self.input, self.output = spec.feature_view, spec.output_view
        self.layers = copy.deepcopy(spec.later.tail)

    def forward(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        return self.output.spread(self.layers(self.input.gather(h)))


class CopiedLayers(Objective):
    """The cross-entropy of a head behind copies of later layers, which are trained with it.

    The last block has the model's own classifier, or a linear map of its averaged features.

    Args:
        spec: the block.
        sections: the layers.
        shrink: as in `Stage`.
        head: behind them, as in `Auxiliary`.
        width: as in `Auxiliary`.
    """

    supports_label_smoothing = True
    supports_soft_labels = True
    copies_later = True

    def __init__(
        self,
        spec: BlockSpec,
        sections: Sequence[Section],
        shrink: int,
        head: Head,
        width: int | None,
    ) -> None:
        super().__init__()
        self.last = Classifier(spec, own=True) if spec.later is None else None
        if spec.later is not None:
            self.tail = Tail(spec)
            self.trained, shape = stages(sections, shape_of(self.tail, spec.features), shrink)
            self.head = head_network(head, shape, spec.num_classes, width, spec.widest)

    @classmethod
    def uses_classifier(cls, options: Mapping[str, Any]) -> bool:
        """Always."""
        return True

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        return self.head(self.ahead(self.tail(h))) if self.last is None else self.last.scores(h)

    def ahead(self, x: Tensor) -> Tensor:
        """What the copies make of what the next block takes, maps (N, C, H, W)."""
        features: Tensor = self.trained(x)
        return features


@OBJECTIVES.register("look-ahead")
class LookAhead(CopiedLayers):
    """The next block's first layers as a head: cross-entropy of A(T(h) + E(h)).

    T is a copy that learns with the block; E, with ``average``, a moving average of the layers
    themselves, as in MAN (arXiv 2407.05623). So the block is taught what the next one can use. At
    half the features' height and width a copied convolution takes a quarter of the time and memory.

    Args:
        spec: the block.
        depth: sections that are copied, a residual block or a layer each, the next block's at most;
            0: A(h) alone.
        shrink: the features are averaged to this part of their height and width first.
        average: decay of E per step; None: there is no E, and nothing of later blocks gets in.
        head: A, as in `Auxiliary`.
        width: as in `Auxiliary`.
    """

    def __init__(
        self,
        spec: BlockSpec,
        *,
        depth: NonNegativeInt = 1,
        shrink: PositiveInt = 2,
        average: Inside | None = None,
        head: Head = "linear",
        width: PositiveInt | None = None,
    ) -> None:
        behind = spec.later.blocks[0] if spec.later else ()
        super().__init__(spec, behind[:depth], shrink, head, width)
        self.average = average
        self.follows = average is not None and depth > 0 and self.last is None
        if self.follows:
            self.averaged = copy.deepcopy(self.trained).requires_grad_(False)

    def ahead(self, x: Tensor) -> Tensor:
        """T(x) + E(x)."""
        trained = super().ahead(x)
        return trained + self.averaged(x) if self.follows else trained

    @torch.no_grad()
    def follow(self, body: nn.Module) -> None:
        """E <- d E + (1 - d) layers."""
        assert self.average is not None
        for stage in self.averaged:
            for name, parameter in stage.get_submodule("layers").named_parameters():
                parameter.lerp_(body.get_parameter(name), 1 - self.average)


@OBJECTIVES.register("sampled-layers")
class SampledLayers(CopiedLayers):
    """AugLocal's auxiliary networks (arXiv 2402.17318): a few of all later layers, evenly spread.

    Of n later sections number round(i n / d), i = 1 to d, the last one always among them. They
    learn with the block, with weights of their own.

    Args:
        spec: the block.
        depth: d of the first block, in sections, a residual block or a layer each.
        taper: d falls in a straight line from block to block, to depth - taper (depth - 1) before
            the last block.
        shrink: maps are averaged to this part of the height and width that the layers have.
        head: behind them, as in `Auxiliary`.
        width: as in `Auxiliary`.
    """

    def __init__(
        self,
        spec: BlockSpec,
        *,
        depth: PositiveInt = 2,
        taper: Share = 0.5,
        shrink: PositiveInt = 1,
        head: Head = "linear",
        width: PositiveInt | None = None,
    ) -> None:
        behind = [section for block in spec.later.blocks for section in block] if spec.later else []
        place = taper * spec.index / max(spec.count - 2, 1)
        chosen = sampled(len(behind), round(depth - place * (depth - 1)))
        super().__init__(spec, [behind[i] for i in chosen], shrink, head, width)


def sampled(count: int, depth: int) -> list[int]:
    """Which of ``count`` places are ``depth`` evenly spread ones up to the last.

    >>> sampled(7, 2), sampled(2, 3)
    ([3, 6], [0, 1])
    """
    if depth >= count:
        return list(range(count))
    return [round(count / depth * i) - 1 for i in range(1, depth + 1)]
