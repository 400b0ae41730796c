"""The forward of one segment: consecutive blocks that share a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from goodness.engine.seeds import mix, seed_generators
from goodness.schedule import Segment
from goodness.update import Outcome

if TYPE_CHECKING:
    from goodness.engine.network import Network


def run_segment(network: Network, segment: Segment, x: Tensor, y: Tensor, step: int) -> Outcome:
    """Run the blocks of ``segment`` on rows ``x`` and judge those that it names.

    Dropout is seeded per (seed, step, block), so that a block replayed alone draws the same mask.

    Args:
        network: holds the blocks.
        segment: which blocks, and which of them are judged.
        x: input of the first block, detached.
        y: labels (N,).
        step: steps done before this one.
    """
    seed, amp = network.config.seed, network.config.amp
    total: Tensor | None = None
    losses: list[Tensor | None] = []
    scores: list[Tensor | None] = []
    sent: list[Tensor] = []
    for index in segment.blocks:
        block = network[index]
        seed_generators(x.device, mix(seed, "block", step, index))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            judged = block.body(x)
        if index in segment.judged and block.objective is not None:
            features = judged.float()
            own = block.objective.scores(features)
            loss = block.objective.loss(features, own, y).mean()
            total = loss if total is None else total + loss
            losses.append(loss.detach())
            scores.append(own.detach())
        else:
            losses.append(None)
            scores.append(None)
        # Behind the segment's last block no gradient flows, so that no graph is kept for it.
        inside = index != segment.blocks[-1]
        with (
            torch.set_grad_enabled(inside),
            torch.autocast(x.device.type, torch.bfloat16, enabled=amp),
        ):
            x = block.send(judged)
        sent.append(x.detach())
    assert total is not None
    return Outcome(total, losses, scores, sent)
