"""The forward of one segment: consecutive blocks that share a graph."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from goodness.engine.checkpointing import checkpointed
from goodness.engine.seeds import mix, seed_generators
from goodness.objective import Look
from goodness.schedule import Segment
from goodness.update import Outcome

if TYPE_CHECKING:
    from goodness.engine.network import Network


def run_segment(
    network: Network, segment: Segment, x: Tensor, y: Tensor, look: Look, step: int
) -> Outcome:
    """Run the blocks of ``segment`` on rows ``x`` and judge those that it names.

    Dropout is seeded per (seed, step, block), so that a block replayed alone draws the same mask.
    What the last block sends on is left to `send_last`.

    Args:
        network: holds the blocks, in training mode.
        segment: which blocks, and which of them are judged.
        x: input of the first block, detached.
        y: labels (N,).
        look: the batch's images, and what was seen ahead.
        step: steps done before this one.
    """
    total: Tensor | None = None
    losses: list[Tensor | None] = []
    scores: list[Tensor | None] = []
    sent: list[Tensor] = []
    for index in segment.blocks:
        block = network[index].train(segment.live)
        seed_generators(x.device, mix(network.config.seed, "block", step, index))
        x = network.enter(index, x, learning=True)
        records = segment.live and bool(segment.judged) and network.update.records_body
        # Behind the segment's last block no gradient flows, so that no graph is kept for it.
        inside = records and index != segment.blocks[-1]
        sends: Tensor | None = None
        with torch.set_grad_enabled(records), network.autocast():
            if inside and network.config.checkpointing:
                value, sends = checkpointed(partial(_whole, network, index, step), x, block)
            else:
                value = block.body(x)
        if index in segment.judged and block.objective is not None:
            block.objective.train()  # a head learns on top of a frozen block too
            features = block.see(value)
            look.input = network.seen(index, x.detach())
            own = block.objective.scores(features)
            rows = block.objective.loss(features, own, y, look)
            block.objective.observe(features.detach(), y)
            if len(segment.judged) > 1:
                rows = rows.flatten(1).mean(1) if rows.dim() > 1 else rows
            total = rows if total is None else total + rows
            losses.append(rows.detach().mean())
            scores.append(own.detach())
        else:
            losses.append(None)
            scores.append(None)
        if index == segment.blocks[-1]:
            break
        if sends is None:
            with torch.set_grad_enabled(inside), network.autocast():
                sends = _send(network, index, value, step)
        x = sends
        sent.append(x.detach())
    return Outcome(total, losses, scores, sent, value.detach())


@torch.no_grad()
def send_last(network: Network, segment: Segment, outcome: Outcome, step: int) -> None:
    """Add what the segment's last block sends on, which no gradient passes, and let go of the rest.

    Called when the gradients are there and the activations that they needed are gone, and before
    the update.
    """
    assert outcome.value is not None
    with network.autocast():
        outcome.sent.append(_send(network, segment.blocks[-1], outcome.value, step))
    outcome.rows = outcome.value = None


def _whole(network: Network, index: int, step: int, x: Tensor) -> tuple[Tensor, Tensor]:
    value = network[index].body(x)
    return value, _send(network, index, value, step)


def _send(network: Network, index: int, value: Tensor, step: int) -> Tensor:
    seed_generators(value.device, mix(network.config.seed, "send", step, index))
    return network[index].send(value)


@torch.no_grad()
def look_ahead(network: Network, x: Tensor, step: int) -> list[Tensor | None]:
    """Every block's scores for rows ``x`` before a step, as the step's own forward will find them.

    Batch norms see the batch, but their running statistics stay as they were.

    Args:
        network: in training mode.
        x: rows that enter block 0.
        step: steps done before this one; decides the dropout masks.
    """
    kept = [(buffer, buffer.clone()) for buffer in network.blocks.buffers()]
    scores: list[Tensor | None] = []
    for index, block in enumerate(network):
        seed_generators(x.device, mix(network.config.seed, "block", step, index))
        x = network.enter(index, x, learning=True)
        with network.autocast():
            value = block.body(x)
            x = _send(network, index, value, step)
        scores.append(block.judge(value))
    for buffer, value in kept:
        buffer.copy_(value)
    return scores
