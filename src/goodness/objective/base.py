from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.partition.view import View
from goodness.registry import Registry

Shape = tuple[int, int, int]
OBJECTIVES: Registry[type[Objective]]


@dataclass(frozen=True)
class Spec:
    """What objectives and readouts know of a block when they are built; shapes are (C, H, W)."""

    index: int
    count: int
    classes: int
    image: Shape
    input: Shape
    judged: Shape
    sent: Shape
    widest: int
    """Channels of the widest block of the network."""
    input_view: View = field(default_factory=View)
    """How what enters the block is seen as a map."""
    judged_view: View = field(default_factory=View)
    """How what the block computes is seen as a map; objectives are given the map."""
    sent_view: View = field(default_factory=View)
    """How what the block sends on is seen as a map."""
    head: nn.Module | None = None
    """At the last block, the model's own classifier, if it has one: it takes what is sent on."""


@dataclass
class Look:
    """What an objective may see beside its block's features."""

    input: Tensor
    """What entered the block, (rows, C, H, W), detached."""
    image: Tensor
    """The batch's images (N, C, H, W), before any label was written into them, for objectives that
    declare `reads_image`; N is 0 where blocks learn from cached features."""
    ahead: list[Tensor | None] = field(default_factory=list)
    """Every block's scores before this step, for objectives that declare `looks_ahead`."""

    def error(self, y: Tensor, smoothing: float = 0.0) -> Tensor:
        """What the last block gets wrong before this step: softmax(scores) - onehot(y), (N, K).

        Args:
            y: labels (N,).
            smoothing: share of the one-hot target that is spread evenly over all classes.
        """
        last = self.ahead[-1]
        assert last is not None
        classes = last.shape[1]
        target = (1 - smoothing) * F.one_hot(y, classes) + smoothing / classes
        return last.softmax(1) - target


class Objective(nn.Module):
    """Judges one block. Subclasses take ``(spec, *, options)``.

    Rows are images, or an image presented in several ways: V * N rows to learn from, the N
    positive ones first, N * A to predict from.
    """

    paired = False
    """Whether the loss is of positive and negative rows, and not of one row per image."""
    coupled = False
    """Whether a row's loss depends on the other rows."""
    looks_ahead = False
    """Whether the loss reads `Look.ahead`; costs a forward pass before every step."""
    masks = False
    """Whether the gradient by a feature is zero wherever that feature is zero, by itself or, where
    `rectified` says that features come from a ReLU, because it is made so."""
    rectified = False
    """Whether features come from a ReLU that leaves its mask to the objective."""
    reads_image = False
    """Whether the loss reads `Look.image`, which is not everywhere at hand in a parallel run and
    not where blocks learn from cached features."""
    smooths = False
    """Whether the loss is a cross-entropy over the classes that heeds `label_smoothing`."""
    weighs = True
    """Whether what it learns comes from the rows' losses alone, which `class_weights` weigh."""
    label_smoothing = 0.0
    """Share of the target that is spread evenly over all classes."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: dict[str, Tensor] = {}
        """Sums of an epoch that is not over yet; kept by the last checkpoint alone."""

    @classmethod
    def most_classes(cls, spec: Spec, options: Mapping[str, Any]) -> int | None:
        """The largest K that this block can serve with these options; None: there is no limit."""
        return None

    @classmethod
    def takes_head(cls, options: Mapping[str, Any]) -> bool:
        """Whether the last block's objective is the model's own classifier, if it has one."""
        return False

    def scores(self, h: Tensor) -> Tensor:
        """Scores with graph, of the judged features ``h`` (rows, C, H, W), float32.

        Returns:
            (rows, K), one per class; or (rows, 1), the goodness of a row whose label is written
            into it.
        """
        raise NotImplementedError

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, look: Look) -> Tensor:
        """One loss per row, (rows,) or with several terms each (rows, ...).

        By default the cross-entropy of the scores; then `smooths` shall be True.

        Args:
            h: judged features (rows, C, H, W), float32.
            scores: what `scores` gave for them.
            y: labels (N,).
            look: what else there is to see.
        """
        return F.cross_entropy(scores, y, reduction="none", label_smoothing=self.label_smoothing)

    @torch.no_grad()
    def observe(self, h: Tensor, y: Tensor) -> None:
        """Called once a step, after the loss: the only place that writes buffers or `pending`.

        Args:
            h: judged features of the whole batch (rows, C, H, W), float32, detached.
            y: labels (N,).
        """

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Called after the last step of an epoch."""

    @property
    def observes(self) -> bool:
        """Whether `observe` does anything."""
        return type(self).observe is not Objective.observe

    def facts(self) -> dict[str, int | float]:
        """What was derived from the spec: shown in listings and checked with checkpoints."""
        return {}


OBJECTIVES = Registry("objective", __package__)
