"""Per block: accuracy, dead channels, effective ranks of features and of the teaching signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from goodness.errors import InputError
from goodness.functional import effective_rank
from goodness.modes import evaluating
from goodness.network.network import Network
from goodness.objective import Context
from goodness.plan import Segment
from goodness.results import BlockDiagnosis

CONSTANT = 1e-6
"""A channel is dead where its values differ by no more than this."""


@dataclass
class _Seen:
    """What a segment's forward and backward pass show of one of its blocks."""

    features: Tensor
    signal: Tensor | None


def diagnose(network: Network, images: Tensor, y: Tensor) -> list[BlockDiagnosis]:
    """Look at every block with one batch, in evaluation mode; nothing is changed.

    The teaching signal is the gradient dL/dh of a segment's loss by the block's features, every
    position of every row being one vector of C values. A globally pooled linear head on K classes
    teaches with at most K - 1 directions, whatever the width.

    Args:
        network: with what its blocks learn from.
        images: preprocessed (N, C, H, W), on any device; some hundred tell enough.
        y: labels (N,), int64.

    Returns:
        One per block.

    Raises:
        InputError: images of another shape, or another number of labels.
    """
    network.check_images(images)
    if len(images) == 0 or y.shape != images.shape[:1]:
        raise InputError(f"labels {tuple(y.shape)}: one for each of the {len(images)} images")
    images, y = images.to(network.device), y.to(network.device)
    answers = network.evaluate(images, list(network.readouts)).blocks
    seen: dict[int, _Seen] = {}
    with evaluating(network), torch.enable_grad():
        x = network.training_rows(images, y)
        context = Context(x, images)
        inputs = [x]
        for index, value, output in network.walk(x):
            inputs.append(output.detach())
            scores = network[index].scores(value)
            context.later_scores.append(None if scores is None else scores.detach())
        for segment in network.plan.segments():
            for index, found in _look(network, segment, inputs, y, context).items():
                before = seen.get(index)
                if before is not None and before.signal is not None and found.signal is not None:
                    found.signal = before.signal + found.signal
                seen[index] = found
    records = []
    for index, block in enumerate(network):
        scores, found = answers[index], seen[index]
        channels = found.features.movedim(1, 0).flatten(1)
        dead = (channels.amax(1) - channels.amin(1) <= CONSTANT).sum()
        records.append(
            BlockDiagnosis(
                name=block.name,
                accuracy=None if scores is None else float((scores.argmax(1) == y).float().mean()),
                channels=len(channels),
                dead_channels=int(dead),
                feature_rank=effective_rank(channels.T - channels.mean(1)),
                signal_rank=None if found.signal is None else effective_rank(_rows(found.signal)),
            )
        )
    return records


def _look(
    network: Network, segment: Segment, inputs: list[Tensor], y: Tensor, context: Context
) -> dict[int, _Seen]:
    """The features of a segment's blocks, and the gradient of its loss by them."""
    x, total = inputs[segment.blocks[0]].detach(), None
    values: dict[int, Tensor] = {}
    for index in (*segment.blocks, *segment.through):
        block = network[index]
        value = network.value(index, x, True)
        if not value.requires_grad:  # a block without weights, or with frozen ones
            value = value.detach().requires_grad_()
        if index in segment.blocks:
            values[index] = value
        judged = index in segment.losses or index in segment.through
        if judged and block.objective is not None:
            h = block.features(value)
            context.input = block.input(x.detach())
            loss = block.objective.loss(h, block.objective.scores(h), y, context).mean()
            total = loss if total is None else total + loss
        x = network.output(index, value)
    gradients: Sequence[Tensor | None] = [None] * len(values)
    if total is not None and total.requires_grad:
        gradients = torch.autograd.grad(total, [*values.values()], allow_unused=True)
    found = {}
    for (index, value), gradient in zip(values.items(), gradients, strict=True):
        block = network[index]
        signal = None if gradient is None else block.features(gradient)
        if signal is not None and block.objective is not None and block.objective.rectified:
            signal = signal * (block.features(value) > 0)
        found[index] = _Seen(block.features(value).detach(), signal)
    return found


def _rows(signal: Tensor) -> Tensor:
    """(N, C, H, W) as one row per position, (N H W, C)."""
    return signal.movedim(1, 3).flatten(0, 2)
