"""What a step of a run will take, told from steps on a few images before it begins."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from goodness.learning.learner import Learner
from goodness.profiling.memory import LiveBytes
from goodness.seeds import kept_generators

if TYPE_CHECKING:
    from goodness.training.trainer import Trainer

FEW_IMAGES = 4


def bytes_of_step(trainer: Trainer) -> int | None:
    """Bytes of weights, optimizer state, gradients and activations at a step's worst moment.

    Beyond a few images activations grow with their number alone, so that two small steps of a copy
    of the network tell those of a whole batch. What an operation needs inside itself, and the
    program itself, are not in it.

    Args:
        trainer: of the run; it is left as it is.

    Returns:
        None with ``compile``, as compiled code keeps other tensors.
    """
    config, device = trainer.config, trainer.network.device
    if config.compile:
        return None
    least = min(config.micro_batch or FEW_IMAGES, config.batch_size)
    sizes = least, min(2 * least, config.batch_size)
    with kept_generators(device):
        learner = Learner(copy.deepcopy(trainer.network), trainer.class_weights, run=trainer.clock)
        order = torch.arange(sizes[1])
        images, y = next(trainer.dataset.train.batches(sizes[1], device, order=order))
        x = trainer.prepare(images)
        learner.step(x[:least], y[:least])  # makes the optimizers' state
        peaks = []
        for size in sizes:
            with LiveBytes(learner.network.parameters()) as tracker:
                learner.step(x[:size], y[:size])
            peaks.append(tracker.peak)
    state = [*learner.network.state_dict().values(), *learner.state_dict()["tensors"].values()]
    more = (peaks[1] - peaks[0]) / max(1, sizes[1] - sizes[0])
    batch = x[0].nbytes * config.batch_size
    step = peaks[0] + more * (config.batch_size - sizes[0])
    return round(sum(tensor.nbytes for tensor in state) + batch + step)
