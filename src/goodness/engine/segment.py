"""The forward of one segment: consecutive blocks that share a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

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
        seed_generators(x.device, mix(network.noise_seed, "block", step, index))
        x = network.enter(index, x, learning=True)
        records = segment.live and bool(segment.judged) and network.update.records_body
        with torch.set_grad_enabled(records), network.autocast():
            value = block.body(x)
        if index in segment.judged and block.objective is not None:
            block.objective.train()  # a head learns on top of a frozen block too
            features = block.see(value)
            own = block.objective.scores(features)
            look.input = network.seen(index, x.detach())
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
        # Behind the segment's last block no gradient flows, so that no graph is kept for it.
        inside = records and index != segment.blocks[-1]
        with torch.set_grad_enabled(inside), network.autocast():
            x = block.send(value)
        sent.append(x.detach())
    return Outcome(total, losses, scores, sent)


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
        seed_generators(x.device, mix(network.noise_seed, "block", step, index))
        x = network.enter(index, x, learning=True)
        with network.autocast():
            value = block.body(x)
            x = block.send(value)
        scores.append(block.judge(value))
    for buffer, value in kept:
        buffer.copy_(value)
    return scores
