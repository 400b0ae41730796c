"""A batch in parts: a block's forward and backward take a few images at a time, its update all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from goodness.errors import InputError
from goodness.objective import Look
from goodness.presentation import Presentation
from goodness.update import Outcome

if TYPE_CHECKING:
    from goodness.engine.network import Network


class Part(NamedTuple):
    """Some images of a batch, with the rows that present them."""

    number: int
    images: slice
    """Their places in the batch."""
    share: float
    """Of the batch's images, 0 to 1."""
    x: Tensor
    """(V * n, ...), the rows of the n images; as in the batch, the positive ones first."""
    y: Tensor
    """(n,)."""
    look: Look


def parts(x: Tensor, y: Tensor, look: Look, size: int | None) -> Iterator[Part]:
    """A batch in parts of at most ``size`` images; None leaves it whole.

    Args:
        x: rows (V * N, ...) of N images.
        y: labels (N,).
        look: what else objectives may see.
        size: images in a part; the last one may be smaller.
    """
    count = len(y)
    if size is None or size >= count:
        yield Part(0, slice(0, count), 1.0, x, y, look)
        return
    for number, start in enumerate(range(0, count, size)):
        images = slice(start, min(start + size, count))
        own = replace(
            look,
            image=look.image[images],
            ahead=[None if a is None else _taken(a, images, count) for a in look.ahead],
        )
        share = (images.stop - start) / count
        yield Part(number, images, share, _taken(x, images, count), y[images], own)


def joined(outcomes: Sequence[Outcome], shares: Sequence[float], count: int) -> Outcome:
    """The outcome of a whole batch, but for the losses' graph.

    Args:
        outcomes: of its parts, in order.
        shares: each part's share of the images.
        count: images of the batch.
    """
    if len(outcomes) == 1:
        return outcomes[0]
    losses: list[Tensor | None] = []
    for own in zip(*(outcome.losses for outcome in outcomes), strict=True):
        terms = [loss * share for loss, share in zip(own, shares, strict=True) if loss is not None]
        losses.append(torch.stack(terms).sum() if terms else None)
    return Outcome(
        rows=None,
        losses=losses,
        scores=[together(own, count) for own in zip(*(o.scores for o in outcomes), strict=True)],
        sent=[_together(own, count) for own in zip(*(o.sent for o in outcomes), strict=True)],
        value=None,
        observed={
            index: _together([outcome.observed[index] for outcome in outcomes], count)
            for index in outcomes[0].observed
        },
    )


def together(found: Sequence[Tensor | None], count: int) -> Tensor | None:
    """Rows of the parts of ``count`` images as those of the batch; None where there are none."""
    rows = [tensor for tensor in found if tensor is not None]
    return _together(rows, count) if rows else None


def _together(rows: Sequence[Tensor], count: int) -> Tensor:
    views = sum(map(len, rows)) // count
    chunks = [tensor.chunk(views) for tensor in rows]
    return torch.cat([own[view] for view in range(views) for own in chunks])


def _taken(rows: Tensor, images: slice, count: int) -> Tensor:
    """Of rows (V * N, ...) those of some images, each presentation's in turn."""
    chosen = [view[images] for view in rows.split(count)]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen)


def check(network: Network) -> None:
    """Refuse what would learn something else from parts than from the whole batch.

    Dropout is not refused: it draws other masks, of the same distribution.

    Raises:
        InputError: a batch norm in a block that learns, whose statistics would silently be those
            of a part; an objective or a presentation that compares the images of a batch; a
            presentation that learns; an update that cannot add up gradients.
    """
    config = network.config
    if not network.update.adds:
        raise InputError(
            f"micro_batch: update '{config.update['name']}' draws other directions in parts than"
            " in a whole batch (leave micro_batch out)"
        )
    shown = network.presentation
    learns = next(shown.parameters(), None) is not None
    if learns or type(shown).enter is not Presentation.enter:
        does = "learns from" if learns else "pairs the images of"
        raise InputError(
            f"micro_batch: presentation '{config.presentation['name']}' {does} a whole batch"
            " (leave micro_batch out)"
        )
    learning = {index for segment in network.schedule.segments() for index in segment.blocks}
    for index in sorted(learning):
        block = network[index]
        if block.objective is not None and block.objective.coupled:
            raise InputError(
                f"micro_batch: objective '{config.objective['name']}' compares the images of a"
                " whole batch (leave micro_batch out, or take a smaller --batch-size)"
            )
        norms = [n for n, module in block.named_modules() if isinstance(module, _BatchNorm)]
        if norms:
            where = "objective" if norms[0].startswith("objective.") else "model"
            way_out = "another objective" if where == "objective" else "--set model.norm=layer"
            raise InputError(
                f"micro_batch: a batch norm in the {where} of block '{block.name}' would take its"
                f" statistics from a part of the batch (use {way_out}, or leave micro_batch out)"
            )
