"""The forward of one segment: consecutive blocks that share a graph."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from goodness.clock import Clock
from goodness.engine.checkpointing import checkpointed
from goodness.engine.seeds import mix, seed_generators
from goodness.objective import Look
from goodness.schedule import Segment
from goodness.update import Outcome

if TYPE_CHECKING:
    from goodness.engine.network import Network


def run_segment(
    network: Network,
    segment: Segment,
    x: Tensor,
    y: Tensor,
    look: Look,
    step: int,
    part: int = 0,
) -> Outcome:
    """Run the blocks of ``segment`` on rows ``x`` and judge those that it names.

    Dropout is seeded per (seed, step, block, part), so that a block replayed alone draws the same
    mask. What the last block sends on is left to `send_last`.

    Args:
        network: holds the blocks, in training mode.
        segment: which blocks, and which of them are judged.
        x: input of the first block, detached.
        y: labels (N,).
        look: the batch's images, and what was seen ahead.
        step: steps done before this one.
        part: which part of the batch this is, counted from 0.
    """
    total: Tensor | None = None
    losses: list[Tensor | None] = []
    scores: list[Tensor | None] = []
    sent: list[Tensor] = []
    observed: dict[int, Tensor] = {}
    for index in segment.blocks:
        block = network[index].train(segment.live)
        _seed(network, "block", x, step, index, part)
        x = network.enter(index, x, learning=True)
        records = segment.live and bool(segment.judged) and network.update.records_body
        # Behind the segment's last block no gradient flows, so that no graph is kept for it.
        inside = records and index != segment.blocks[-1]
        sends: Tensor | None = None
        with torch.set_grad_enabled(records), network.autocast():
            if inside and network.config.checkpointing:
                value, sends = checkpointed(partial(_whole, network, index, step, part), x, block)
            else:
                value = block.body(x)
        if index in segment.judged and block.objective is not None:
            block.objective.train()  # a head learns on top of a frozen block too
            features = block.see(value)
            look.input = block.spec.input_view(x.detach())
            own = block.objective.scores(features)
            rows = block.objective.loss(features, own, y, look)
            if block.objective.observes:
                observed[index] = features.detach()
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
                sends = _send(network, index, value, step, part)
        x = sends
        sent.append(x.detach())
    return Outcome(total, losses, scores, sent, value.detach(), observed)


@torch.no_grad()
def send_last(
    network: Network, segment: Segment, outcome: Outcome, step: int, part: int = 0
) -> None:
    """Add what the segment's last block sends on, which no gradient passes, and let go of the rest.

    Called when the gradients are there and the activations that they needed are gone, and before
    the update.
    """
    assert outcome.value is not None
    with network.autocast():
        outcome.sent.append(_send(network, segment.blocks[-1], outcome.value, step, part))
    outcome.rows = outcome.value = None


def _whole(network: Network, index: int, step: int, part: int, x: Tensor) -> tuple[Tensor, Tensor]:
    value = network[index].body(x)
    return value, _send(network, index, value, step, part)


def _send(network: Network, index: int, value: Tensor, step: int, part: int) -> Tensor:
    _seed(network, "send", value, step, index, part)
    return network[index].send(value)


@torch.no_grad()
def look_ahead(network: Network, x: Tensor, clock: Clock, part: int = 0) -> list[Tensor | None]:
    """Every block's scores for rows ``x`` before a step, as the step's own forward will find them.

    Batch norms see the batch, but their running statistics stay as they were.

    Args:
        network: in training mode.
        x: rows that enter block 0.
        clock: where the run is; decides which blocks are frozen, and the dropout masks.
        part: which part of the batch this is, see `run_segment`.
    """
    kept = [(buffer, buffer.clone()) for buffer in network.blocks.buffers()]
    scores: list[Tensor | None] = []
    for segment in network.schedule.plan(clock):
        for index in segment.blocks:
            block = network[index].train(segment.live)
            if index in segment.judged and block.objective is not None:
                block.objective.train()
            _seed(network, "block", x, clock.step, index, part)
            x = network.enter(index, x, learning=True)
            with network.autocast():
                value = block.body(x)
                x = _send(network, index, value, clock.step, part)
            scores.append(block.judge(value))
    for buffer, value in kept:
        buffer.copy_(value)
    return scores


def _seed(network: Network, what: str, x: Tensor, step: int, index: int, part: int) -> None:
    # A whole batch draws what the first of several parts does.
    place = (what, step, index, part) if part else (what, step, index)
    seed_generators(x.device, mix(network.noise_seed, *place))
