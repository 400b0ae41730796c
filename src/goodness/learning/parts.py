"""A batch in parts: a block's forward and backward take a few images at a time, its update all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from goodness.objective import Context


@dataclass
class Batch:
    """Images of a batch, all or some, as rows that a block takes."""

    x: Tensor
    """(V * n, ...), the rows of the n images; the positive ones first."""
    y: Tensor
    """(n,); of soft labels (n, K)."""
    context: Context
    number: int = 0
    """Which part of the batch this is."""
    share: float = 1.0
    """Of the batch's images, 0 to 1."""
    weights: Tensor | None = None
    """(n,), the images' class weights; their mean over the whole batch is 1."""

    def parts(self, size: int) -> list[Batch]:
        """The batch in parts of at most ``size`` images."""
        count, found = len(self.y), []
        if size >= count:
            return [self]
        for number, start in enumerate(range(0, count, size)):
            images = slice(start, min(start + size, count))
            scores, left = (
                [None if own is None else _chosen(own, images, count) for own in found]
                for found in (self.context.later_scores, self.context.left)
            )
            context = replace(
                self.context,
                images=self.context.images[images],
                later_scores=scores,
                left=left,
            )
            share = (images.stop - start) / count
            x = _chosen(self.x, images, count)
            weights = None if self.weights is None else self.weights[images]
            found.append(Batch(x, self.y[images], context, number, share, weights))
        return found


@dataclass
class SegmentResult:
    """What came out of one segment's forward; lists are in the order of its blocks."""

    losses: list[Tensor | None] = field(default_factory=list)
    """Mean loss of each block, detached; None where it has none."""
    scores: list[Tensor | None] = field(default_factory=list)
    """Scores of each block, detached."""
    outputs: list[Tensor] = field(default_factory=list)
    """What each block gives to the next one, detached."""
    observed: dict[int, Tensor] = field(default_factory=dict)
    """By block, what its objective is to `observe`, detached; none where it observes nothing."""


def joined(results: Sequence[SegmentResult], parts: Sequence[Batch]) -> SegmentResult:
    """The result of a whole batch, of those of its parts."""
    if len(results) == 1:
        return results[0]
    count = sum(len(part.y) for part in parts)
    losses: list[Tensor | None] = []
    for own in zip(*(result.losses for result in results), strict=True):
        pairs = zip(own, parts, strict=True)
        terms = [loss * part.share for loss, part in pairs if loss is not None]
        losses.append(torch.stack(terms).sum() if terms else None)
    return SegmentResult(
        losses,
        [together(own, count) for own in zip(*(r.scores for r in results), strict=True)],
        [_together(own, count) for own in zip(*(r.outputs for r in results), strict=True)],
        {i: _together([r.observed[i] for r in results], count) for i in results[0].observed},
    )


def together(found: Sequence[Tensor | None], count: int) -> Tensor | None:
    """Rows of the parts of ``count`` images as those of the batch; None where there are none."""
    rows = [tensor for tensor in found if tensor is not None]
    return _together(rows, count) if rows else None


def _together(rows: Sequence[Tensor], count: int) -> Tensor:
    views = sum(map(len, rows)) // count
    chunks = [tensor.chunk(views) for tensor in rows]
    return torch.cat([own[view] for view in range(views) for own in chunks])


def _chosen(rows: Tensor, images: slice, count: int) -> Tensor:
    """Of rows (V * N, ...) those of some images, each presentation's in turn."""
    chosen = [view[images] for view in rows.split(count)]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen)
