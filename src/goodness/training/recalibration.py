"""Batch norms whose running statistics lag behind the weights: measured anew for validation.

Running statistics are a moving average over steps. Where an epoch has few of them, or the momentum
is small (0.01 in torchvision's MobileNetV3), they are those of weights long gone, and a network
that learns well may answer at chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from goodness.clock import Clock
from goodness.data import Dataset
from goodness.modes import evaluating, kept_buffers
from goodness.network.network import Network
from goodness.seeds import Draws, kept_generators, mix, permutation

LAG = 0.05
"""Statistics lag where what is older than an epoch still has this weight in them."""
IMAGES = 1024
"""At most so many training images, or one batch."""

Norms = dict[str, _BatchNorm]
"""By their names in the network."""


@torch.no_grad()
def recalibrated(network: Network, dataset: Dataset, clock: Clock) -> dict[str, Tensor]:
    """The statistics of norms that learn and lag, as means over some training images.

    The images are the same ones at every call, without augmentation, as rows that blocks learn
    from. The network is left as it was. Norms of frozen blocks are not measured, nor those without
    a momentum, whose statistics are no moving average.

    Args:
        network: on its device.
        dataset: the training images.
        clock: a step of the epoch that is over.

    Returns:
        Running means and variances by their names in the network's ``state_dict``.
    """
    inside, behind = _lagging(network, clock)
    norms = {**inside, **behind}
    if not norms:
        return {}
    config = network.config
    size = config.micro_batch or config.batch_size
    seed = mix(config.seed, "statistics")
    count = max(1, min(IMAGES, len(dataset.train)) // size) * size
    order = permutation(len(dataset.train), seed)[:count]
    momenta = {name: norm.momentum for name, norm in norms.items()}
    buffers = [f"{name}.running_{what}" for name in norms for what in ("mean", "var")]
    with evaluating(network), kept_buffers(*norms.values()), kept_generators(network.device):
        try:
            for norm in norms.values():
                norm.reset_running_stats()
                norm.momentum = None  # a mean over all batches
            for group, run in ((inside, _run_blocks), (behind, _run_readouts)):
                if not group:
                    continue
                for norm in group.values():
                    norm.train()
                batches = dataset.train.batches(
                    size, network.device, order=order, num_workers=config.num_workers
                )
                for number, (pixels, y) in enumerate(batches):
                    run(network, dataset.preprocessing.apply(pixels), y, Draws(seed, number))
                for norm in group.values():
                    norm.eval()
            return {name: network.get_buffer(name).clone() for name in buffers}
        finally:
            for name, norm in norms.items():
                norm.momentum = momenta[name]


@contextmanager
def holding(network: nn.Module, statistics: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside it the network has these statistics, afterwards its own again."""
    buffers = {name: network.get_buffer(name) for name in statistics}
    kept = {name: buffer.clone() for name, buffer in buffers.items()}
    try:
        for name, buffer in buffers.items():
            buffer.copy_(statistics[name])
        yield
    finally:
        for name, buffer in buffers.items():
            buffer.copy_(kept[name])


def _lagging(network: Network, clock: Clock) -> tuple[Norms, Norms]:
    """The norms that learn and lag: those of blocks and objectives, and those of readouts."""
    parts: list[nn.Module] = []
    # A plan may have a block learn at every other step.
    for step in {clock.step, max(clock.step - 1, 0)}:
        for segment in network.plan.at(clock._replace(step=step)):
            for index in segment.blocks:
                parts += network[index].path if segment.training else ()
            objectives = (network[index].objective for index in segment.losses)
            parts += [objective for objective in objectives if objective is not None]
    readouts = [r for r in network.readouts.values() if r.trainable and r.started(clock)]
    inside = {part for module in parts for part in module.modules()}
    behind = {part for module in readouts for part in module.modules()} - inside
    lagging = {
        name: part
        for name, part in network.named_modules()
        if isinstance(part, _BatchNorm)
        and part.track_running_stats
        and part.momentum is not None
        and (1 - part.momentum) ** clock.steps_per_epoch > LAG
    }
    return (
        {name: norm for name, norm in lagging.items() if norm in inside},
        {name: norm for name, norm in lagging.items() if norm in behind},
    )


def _run_blocks(network: Network, images: Tensor, y: Tensor, draws: Draws) -> None:
    """What a training step computes of the blocks and their scores."""
    draws.begin(images.device, "labels")
    rows = network.training_rows(images, y)
    for index, value, _ in network.walk(rows, training=True, draws=draws):
        network[index].scores(value)


def _run_readouts(network: Network, images: Tensor, y: Tensor, draws: Draws) -> None:
    """What the readouts that learn make of the blocks as they are when they are asked."""
    learning = {name: readout for name, readout in network.readouts.items() if readout.trainable}
    extracted, _ = network.extract(network.neutral_rows(images), learning, range(len(network)))
    for name, readout in learning.items():
        readout(extracted[name])
