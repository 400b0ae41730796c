"""What a step of a run will take, told from steps on a few images before it begins."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

import torch

from goodness.learning.learner import Learner
from goodness.memory import available_memory
from goodness.profiling.memory import LiveBytes
from goodness.seeds import kept_generators

if TYPE_CHECKING:
    from goodness.training.trainer import Trainer

FEW_IMAGES = (4, 8)


class StepMemory(NamedTuple):
    """Bytes of a training step at its worst moment, by the size of its batch."""

    fixed: float
    """Weights, optimizer state, gradients."""
    per_image: float
    """Activations."""

    def of(self, batch: int) -> int:
        """Of a step on so many images."""
        return round(self.fixed + self.per_image * batch)


def step_memory(trainer: Trainer) -> StepMemory | None:
    """What tensors of a step will take.

    Beyond a few images activations grow with their number alone, so that two small steps of a copy
    of the network tell those of any batch. What an operation needs inside itself, and the program
    itself, come on top.

    Args:
        trainer: of the run; it is left as it is.

    Returns:
        None with ``compile``, as compiled code keeps other tensors.
    """
    config, device = trainer.config, trainer.network.device
    if config.compile:
        return None
    # A second part of a batch is the first that meets gradients of another one.
    part = config.micro_batch
    few = FEW_IMAGES if part is None else (2 * part, 3 * part)
    sizes = [min(count, config.batch_size) for count in few]
    with kept_generators(device):
        learner = Learner(copy.deepcopy(trainer.network), trainer.class_weights, run=trainer.clock)
        order = torch.arange(sizes[1])
        images, y = next(trainer.dataset.train.batches(sizes[1], device, order=order))
        x = trainer.prepare(images)
        learner.steps = trainer.step
        learner.step(x, y)  # makes the optimizers' state
        peaks = []
        for size in sizes:
            learner.steps = trainer.step
            with LiveBytes(learner.network.parameters()) as tracker:
                learner.step(x[:size], y[:size])
            peaks.append(tracker.peak + x[:size].nbytes)
    state = [*learner.network.state_dict().values(), *learner.state_dict()["tensors"].values()]
    per_image = (peaks[1] - peaks[0]) / max(1, sizes[1] - sizes[0])
    fixed = sum(tensor.nbytes for tensor in state) + peaks[0] - per_image * sizes[0]
    return StepMemory(fixed, per_image)


def free_memory(device: torch.device) -> int:
    """Bytes that a step can take on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory()  # MPS shares it
