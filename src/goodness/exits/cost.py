"""What an early answer costs: floating-point operations, and seconds."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from goodness.exits.passage import EarlyAnswers, Exit, Passage, answer_early
from goodness.exits.records import Latency
from goodness.modes import evaluating
from goodness.network.network import Network
from goodness.profiling.bound import now

ROUNDS = 3
ALONE, TOGETHER = 48, 256
"""Images that are asked about one by one, and in one batch."""


@torch.no_grad()
def flops_until(network: Network, exits: Collection[int]) -> list[int]:
    """FLOPs of one image until it has passed each block, the heads of these exits included.

    By torch's counter: convolutions and products of matrices. Where every image is asked about K
    classes, of its K rows; with ``flip_test`` of its mirror image too.

    Args:
        network: whose `readout` answers.
        exits: the blocks behind which it is asked.
    """
    image = torch.zeros(1, *network.image_shape, device=network.device)
    counts = []
    with evaluating(network), torch.autocast(image.device.type, enabled=False):
        passage = Passage(network, image, exits)
        with FlopCounterMode(display=False) as counter:
            for _ in network:
                passage.advance()
                counts.append(counter.get_total_flops())
    return counts


def mean_flops(until: list[int], left: Tensor) -> float:
    """FLOPs per image, where each has left behind a block.

    Args:
        until: what `flops_until` gave.
        left: the blocks, int64 (N,).
    """
    return float(torch.tensor(until, dtype=torch.float64)[left.cpu()].mean())


def measure_latency(network: Network, images: Tensor, exits: Mapping[int, Exit]) -> Latency:
    """Seconds per image with early exits and without, one image at a time and in a batch.

    The shortest of three rounds each. Without exits only the last block's answer is computed.

    Args:
        network: on the device to measure.
        images: preprocessed (N, C, H, W); the first 48 one by one, the first 256 in a batch.
        exits: as for `answer_early`.
    """
    last = len(network) - 1
    plain = {last: exits[last]}
    alone = [image[None] for image in images[:ALONE].to(network.device)]
    together = [images[:TOGETHER].to(network.device)]

    def seconds(batches: list[Tensor], ways: Mapping[int, Exit]) -> float:
        started = now(network.device)
        found: list[EarlyAnswers] = [answer_early(network, batch, ways) for batch in batches]
        return (now(network.device) - started) / sum(len(answers.left) for answers in found)

    shortest: list[float] = []
    for batches in (alone, together):
        answer_early(network, batches[0], exits)  # the first call also sets things up
        rounds = [[seconds(batches, ways) for ways in (plain, exits)] for _ in range(ROUNDS)]
        shortest += [min(times) for times in zip(*rounds, strict=True)]
    return Latency(
        alone_full=shortest[0],
        alone_early=shortest[1],
        batch=len(together[0]),
        batch_full=shortest[2],
        batch_early=shortest[3],
        device=str(network.device),
        num_threads=torch.get_num_threads(),
    )
