from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from goodness.exits.thresholds import class_groups, precision, precision_thresholds
from goodness.functional import class_shares
from goodness.objective.base import OBJECTIVES, BlockSpec, Context
from goodness.objective.convolutional import Convolutional
from goodness.types import NonNegative, Positive, PositiveInt, Share

UNREACHED = 2.0
"""A threshold that no probability reaches."""


@OBJECTIVES.register("boosted")
class Boosted(Convolutional):
    """Heads as early exits, each trained on the images that have not left before it (BTS-EE).

    While a block learns, the cross-entropy of its head. Behind a frozen block a head in front of
    the last one learns as an exit: from images alone whose answer no earlier exit gives, by
    cross-entropy and distillation of the last block's answer. At an epoch's end it sets its own
    thresholds: per class the smallest confidence from which on it is as right as the last block,
    less the margin, on the images of the epoch that have reached it. See `goodness.plan.boosted`.

    Args:
        spec: the block.
        margin: by how much an exit's precision on a class may be below the last block's.
        support: answers that a precision needs to count.
        distill: the distillation's part of an exit's loss.
        temperature: of the distillation.
        grid: cells per side that the map is averaged to first.
        widths: channels of the convolutions.
        cells: per side, in front of the linear layer.
    """

    thresholds: Tensor

    def __init__(
        self,
        spec: BlockSpec,
        *,
        margin: NonNegative = 0.01,
        support: PositiveInt = 30,
        distill: Share = 0.5,
        temperature: Positive = 2.0,
        grid: PositiveInt = 4,
        widths: list[PositiveInt] = [128],  # noqa: B006
        cells: PositiveInt = 2,
    ) -> None:
        super().__init__(spec, grid=grid, widths=widths, cells=cells)
        self.index = spec.index
        self.exits = spec.index < spec.count - 1
        self.needs_later_scores = self.exits
        self.coupled = self.exits  # by the weights of the images, whose mean is 1
        self.margin = margin
        self.support = support
        self.distill = distill
        self.temperature = temperature
        self.register_buffer("thresholds", torch.full((spec.num_classes,), UNREACHED))
        self._seen: list[dict[str, Tensor]] = []

    def leaves(self, scores: Tensor) -> Tensor | None:
        """Which images are sure enough at this exit, bool (N,); None at the last block."""
        if not self.exits:
            return None
        sure, answers = scores.softmax(1).max(1)
        return sure >= self.thresholds[answers]

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,); of an exit 0 for images that have left, and more for the others."""
        loss = super().loss(h, scores, y, context)
        full = context.later_scores[-1] if context.later_scores else None
        if not (self.exits and context.frozen) or full is None:
            return loss
        t = self.temperature
        student, teacher = (scores / t).log_softmax(1), (full / t).softmax(1)
        divergence = F.kl_div(student, teacher, reduction="none").sum(1)
        loss = (1 - self.distill) * loss + self.distill * t**2 * divergence
        stays = y.new_ones(len(y), dtype=torch.bool)
        for left in context.left[: self.index]:
            if left is not None:
                stays = stays & ~left
        if torch.is_grad_enabled():
            self._note(scores.detach(), full, y, stays)
        weights = stays.to(loss.dtype)
        return loss * weights / weights.mean().clamp(min=1 / len(y))

    def _note(self, scores: Tensor, full: Tensor, y: Tensor, stays: Tensor) -> None:
        sure, answers = scores[stays].softmax(1).max(1)
        whole = full.argmax(1)
        # Of an image of several classes an answer is right to its class's share.
        shares = class_shares(y, len(self.thresholds), scores.dtype)
        self._seen.append(
            {
                "confidence": sure,
                "answers": answers,
                "right": shares[stays].gather(1, answers[:, None]).squeeze(1),
                "whole": whole,
                "whole_right": shares.gather(1, whole[:, None]).squeeze(1),
            }
        )

    @torch.no_grad()
    def observe(self, h: Tensor, y: Tensor) -> None:
        """Keep what this exit and the last block have answered about the batch."""
        for seen in self._seen:
            for name, rows in seen.items():
                kept = self.pending.get(name)
                self.pending[name] = rows if kept is None else torch.cat([kept, rows])
        self._seen.clear()

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Set the thresholds by the answers of the epoch, and forget these."""
        if not self.pending:
            return
        # Once an epoch, in double precision, which not every device has.
        seen = {name: self.pending.pop(name).cpu() for name in list(self.pending)}
        groups = class_groups(seen["whole"], len(self.thresholds), self.support)
        targets = precision(seen["whole"], seen["whole_right"], groups) - self.margin
        own = seen["confidence"], seen["answers"], seen["right"]
        found = precision_thresholds(*own, targets, groups, self.support)
        self.thresholds.copy_(found.clamp(max=UNREACHED))
