from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import class_shares
from goodness.objective.difficulty import ClassDifficulty
from goodness.partition.pieces import Section
from goodness.partition.view import View
from goodness.registry import Registry
from goodness.types import Shape

OBJECTIVES: Registry[type[Objective]]


class Later(NamedTuple):
    """What a block's features go on to: layers that hold the network's own parameters.

    To be copied, not kept: a network holds each of them once.
    """

    tail: nn.Module
    """Parameter-free, from what the block's body computes to what the next one takes."""
    blocks: tuple[tuple[Section, ...], ...]
    """The sections of every later block, the next one first."""


@dataclass(frozen=True)
class BlockSpec:
    """What objectives and readouts know of a block when they are built; shapes are (C, H, W)."""

    index: int
    count: int
    num_classes: int
    image_shape: Shape
    input: Shape
    features: Shape
    output: Shape
    widest: int
    """Channels of the widest block of the network."""
    input_view: View = field(default_factory=View)
    """From the block's input to a map."""
    feature_view: View = field(default_factory=View)
    """From what the body computes to a map: the features that objectives are given."""
    output_view: View = field(default_factory=View)
    """From the block's output to a map."""
    head: nn.Module | None = None
    """At the last block, the model's own classifier, if it has one: a map of the output."""
    later: Later | None = None
    """Before the last block, for objectives that declare `copies_later`, while they are built."""


@dataclass
class Context:
    """What an objective may use beside its block's features."""

    input: Tensor
    """What entered the block, (rows, C, H, W), detached."""
    images: Tensor
    """The batch's images (N, C, H, W), before any label was written into them, for objectives that
    declare `needs_images`; N is 0 where blocks learn from cached features."""
    later_scores: list[Tensor | None] = field(default_factory=list)
    """Every block's scores before this step, for objectives that declare `needs_later_scores`."""
    left: list[Tensor | None] = field(default_factory=list)
    """What every block's `Objective.leaves` says of these scores, bool (N,)."""
    frozen: bool = False
    """Whether the block stays as it is, so that its objective learns alone."""

    def error(self, y: Tensor, smoothing: float = 0.0) -> Tensor:
        """What the last block gets wrong before this step: softmax(scores) - onehot(y), (N, K).

        Args:
            y: labels (N,), or soft ones (N, K).
            smoothing: share of the target that is spread evenly over all classes.
        """
        last = self.later_scores[-1]
        assert last is not None
        num_classes = last.shape[1]
        shares = class_shares(y, num_classes, last.dtype)
        return last.softmax(1) - ((1 - smoothing) * shares + smoothing / num_classes)


class Objective(nn.Module):
    """A block's loss and scores. The constructor of a subclass is ``(spec, *, options)``.

    Rows are images, or images presented in several ways: V * N rows to learn from, the N
    positive ones first; N * A to predict from.
    """

    paired = False
    """Whether the loss is of positive and negative rows, and not of one row per image."""
    coupled = False
    """Whether a row's loss depends on the other rows."""
    needs_later_scores = False
    """Whether the loss reads `Context.later_scores`; costs a forward pass before every step."""
    masks = False
    """Whether the gradient by a feature is zero wherever that feature is zero: by itself, or where
    `rectified` is set."""
    rectified = False
    """Whether features come from a ReLU whose mask the objective applies to its gradient."""
    copies_later = False
    """Whether the constructor copies layers from `BlockSpec.later`."""
    follows = False
    """Whether `follow` does anything, which needs the next block's weights after every step."""
    needs_images = False
    """Whether the loss reads `Context.images`, which are not everywhere at hand in a parallel run
    and not where blocks learn from cached features."""
    supports_label_smoothing = False
    """Whether the loss is a cross-entropy over the classes, with `label_smoothing`."""
    supports_soft_labels = False
    """Whether the loss also takes soft labels (N, K), rows that add up to 1; it is then the mean of
    the losses that single labels would have."""
    supports_class_weights = True
    """Whether what it learns comes from the rows' losses alone, which `class_weights` weigh."""
    difficulty: ClassDifficulty | None
    """What weighs the losses of hard classes, where `class_difficulty` asks for it."""
    label_smoothing = 0.0
    """Share of the target that is spread evenly over all classes."""

    def __init__(self) -> None:
        super().__init__()
        self.difficulty = None
        self.pending: dict[str, Tensor] = {}
        """Sums of an epoch that is not over yet; kept by the last checkpoint alone."""

    @classmethod
    def max_classes(cls, spec: BlockSpec, options: Mapping[str, Any]) -> int | None:
        """The largest K that is possible at this block with these options; None: any."""
        return None

    @classmethod
    def uses_classifier(cls, options: Mapping[str, Any]) -> bool:
        """Whether the last block's objective is the model's own classifier, if it has one."""
        return False

    def scores(self, h: Tensor) -> Tensor:
        """Scores with graph, of the features ``h`` (rows, C, H, W), float32.

        Returns:
            (rows, K), one per class; or (rows, 1), the goodness of a row whose label is written
            into it.
        """
        raise NotImplementedError

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """One loss per row, (rows,) or with several terms each (rows, ...).

        By default the cross-entropy of the scores; then `supports_label_smoothing` and
        `supports_soft_labels` shall be True.

        Args:
            h: features (rows, C, H, W), float32.
            scores: what `scores` gave for them.
            y: labels (N,); or soft ones (N, K), where it `supports_soft_labels`.
            context: what else a loss may use.
        """
        return F.cross_entropy(scores, y, reduction="none", label_smoothing=self.label_smoothing)

    def leaves(self, scores: Tensor) -> Tensor | None:
        """Which images have their answer here and need no later block, where an objective says so.

        Args:
            scores: what `scores` gave, (N, K).

        Returns:
            bool (N,); None: it says nothing, by default.
        """
        return None

    @torch.no_grad()
    def observe(self, h: Tensor, y: Tensor) -> None:
        """Called once a step, after the loss: the only place that writes buffers or `pending`.

        Args:
            h: features of the whole batch (rows, C, H, W), float32, detached.
            y: labels (N,).
        """

    @torch.no_grad()
    def follow(self, body: nn.Module) -> None:
        """Called at the end of every step in which its block has learnt, where it `follows`.

        Args:
            body: of the next block, after its update.
        """

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Called after the last step of an epoch."""

    @property
    def sums_epochs(self) -> bool:
        """Whether an epoch's end changes what follows."""
        return self.difficulty is not None or type(self).end_epoch is not Objective.end_epoch

    @property
    def observes(self) -> bool:
        """Whether `observe` does anything."""
        return type(self).observe is not Objective.observe

    def facts(self) -> dict[str, int | float]:
        """What was derived from the spec, for listings and to compare with checkpoints."""
        return {}


OBJECTIVES = Registry("objective", __package__)
