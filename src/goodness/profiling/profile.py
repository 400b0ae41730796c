"""What every block of a network costs to train, and what other sizes would cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from goodness.config import Config
from goodness.data import Augmentation
from goodness.parallel.balance import block_flops, cuts
from goodness.partition.balanced import balanced
from goodness.profiling.bound import convolutions, seconds
from goodness.profiling.timing import block_peaks, block_seconds
from goodness.profiling.trial import Trial
from goodness.types import Shape

RANKS = (1, 2, 4)
DEPTHS = (1, 2, 4)


def profile(
    config: Config,
    image_shape: Shape,
    num_classes: int,
    device: torch.device,
    steps: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Measure a method's training step on random images, block by block.

    Args:
        config: the method, the network, the batch size.
        image_shape: the shape (C, H, W) of an image.
        num_classes: number of classes.
        device: where.
        steps: that are timed.
        log: is told what goes on.

    Returns:
        ``blocks`` (per block ``name``, ``parameters``, ``flops`` of its forward per image,
        ``seconds`` by phase, ``activations`` in bytes at its worst moment, and
        ``convolution_seconds``), ``data_seconds`` (augmentation), ``step_seconds``,
        ``share_of_bound``, ``memory`` (see `Trial.memory`) and ``what_if`` (see `predict`).
    """
    batch = config.batch_size
    log("building")
    trial = Trial(config, image_shape, num_classes, device, batch)
    network = trial.network
    log("memory")
    memory = trial.memory()
    peaks = block_peaks(trial)
    log("convolutions alone")
    alone = convolutions(network, trial.x, trial.y)
    log(f"{steps} steps")
    spent, whole = block_seconds(trial, steps)
    shared = {i for s in network.plan.segments() if len(s.blocks) > 1 for i in s.blocks}
    flops = block_flops(network, network.training_rows(trial.x[:2], trial.y[:2]))
    blocks: list[dict[str, Any]] = []
    for index, block in enumerate(network):
        own = [c for c in alone if c.block == index]
        blocks.append(
            {
                "name": block.name,
                "parameters": sum(p.numel() for p in block.parameters()),
                "flops": flops[index] // 2,
                "seconds": spent[index],
                "activations": peaks[index],
                "convolution_seconds": {
                    "forward": sum(c.forward for c in own),
                    "input_gradient": sum(c.input_gradient for c in own) if index in shared else 0,
                    "weight_gradient": sum(c.weight_gradient for c in own),
                },
            }
        )
    needed = sum(sum(block["convolution_seconds"].values()) for block in blocks)
    log("half the batch")
    half = Trial(config, image_shape, num_classes, device, max(batch // 2, 2))
    half_memory = half.memory()
    _, half_seconds = block_seconds(half, steps)
    measured = [
        {"batch": half.batch, "seconds": half_seconds, "activations": half_memory["activations"]},
        {"batch": batch, "seconds": whole, "activations": memory["activations"]},
    ]
    return {
        "blocks": blocks,
        "data_seconds": _data_seconds(config, image_shape, trial.x, device),
        "step_seconds": whole,
        "share_of_bound": needed / whole,
        "memory": dict(memory),
        "what_if": predict(measured, blocks, bool(shared), cuts(network)),
    }


def predict(
    measured: Sequence[Mapping[str, float]],
    blocks: Sequence[Mapping[str, Any]],
    shared: bool,
    places: Sequence[int],
) -> dict[str, list[dict[str, Any]]]:
    """Speed and activations at other batch sizes, depths and numbers of ranks.

    Batch sizes: a line through two measurements. Depths: every block stands there so many times;
    where blocks share a graph, so many times its memory too. Ranks: consecutive blocks on each, as
    evenly as they divide; the slowest one sets the pace, and sending is free.

    Args:
        measured: two rows of ``batch``, ``seconds`` and ``activations``.
        blocks: with ``seconds`` by phase.
        shared: whether blocks share a graph.
        places: where the network can be cut between ranks.
    """
    low, high = measured
    rows = []
    for batch in (int(low["batch"]) // 2, int(high["batch"]) * 2, int(high["batch"]) * 4):
        rows.append(
            {
                "batch": batch,
                "images_per_second": batch / _line(low, high, "seconds", batch),
                "activations": round(_line(low, high, "activations", batch)),
            }
        )
    times = [sum(block["seconds"].values()) for block in blocks]
    images, whole = high["batch"], high["seconds"]
    depths = [
        {
            "times": times_deep,
            "blocks": times_deep * len(blocks),
            "images_per_second": images / (whole + (times_deep - 1) * sum(times)),
            "activations": round(high["activations"] * (times_deep if shared else 1)),
        }
        for times_deep in DEPTHS
    ]
    ranks = []
    for count in RANKS:
        if count <= len(places) + 1:
            pace = max(sum(times[i] for i in part) for part in balanced(times, places, count))
            speed = images / (whole * pace / sum(times))
            ranks.append({"ranks": count, "images_per_second": speed})
    return {"batches": rows, "depths": depths, "ranks": ranks}


def _line(low: Mapping[str, float], high: Mapping[str, float], key: str, batch: int) -> float:
    slope = (high[key] - low[key]) / (high["batch"] - low["batch"])
    # Of a very small batch the line may come out below nothing.
    return max(high[key] + slope * (batch - high["batch"]), low[key] * batch / low["batch"] / 2)


def _data_seconds(
    config: Config, image_shape: Shape, x: torch.Tensor, device: torch.device
) -> float:
    """Of the augmentation of a batch."""
    augment = Augmentation(config.augment, image_shape)
    given = x.sigmoid()
    return seconds(lambda: augment(given), 5, device)
