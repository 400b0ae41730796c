"""Which training images an epoch sees, and what each class weighs: pure functions."""

from __future__ import annotations

import torch
from torch import Tensor

from goodness.seeds import mix, permutation


def epoch_order(images: int, batch_size: int, steps: int, epoch: int, seed: int) -> Tensor:
    """The images of an epoch, which may see every one several times, or only some.

    Epochs go on where the one before has ended: every image is seen once before the next shuffle,
    however long an epoch is.

    Args:
        images: how many there are.
        batch_size: images per step, at most ``images``.
        steps: of the epoch.
        epoch: counted from 0.
        seed: the run's.

    Returns:
        int64 (steps * batch_size,).
    """
    whole = images // batch_size
    start, end = epoch * steps, (epoch + 1) * steps
    first = start // whole
    # The last, smaller batch is left out; another shuffle leaves out other images.
    orders = [
        permutation(images, mix(seed, "order", number))[: whole * batch_size]
        for number in range(first, -(-end // whole))
    ]
    skipped = first * whole
    return torch.cat(orders)[(start - skipped) * batch_size : (end - skipped) * batch_size]


def pass_number(images: int, batch_size: int, step: int) -> int:
    """The pass over the images that a step of the run belongs to, counted from 0; a pass is one
    shuffle, whatever an epoch is."""
    return step // (images // batch_size)


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """The inverse of each class's share of the labels, relative to equal shares; (K,)."""
    counts = torch.bincount(labels, minlength=classes)
    seen = counts > 0
    # A class without an image has no loss to weigh, but needs a place.
    return torch.where(seen, counts.sum() / (seen.sum() * counts), 1.0)
