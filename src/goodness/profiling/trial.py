"""One way to train a network, with a batch to step on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from goodness.checks import check_equal_steps, check_steps_alike
from goodness.clock import Clock
from goodness.config import Config, resolve
from goodness.learning.learner import Learner
from goodness.network.build import build
from goodness.profiling.bound import now
from goodness.profiling.memory import LiveBytes
from goodness.types import Shape

LENGTH = 10_000
"""Steps of the run that the measured steps are the first of."""


class Trial:
    """A network, its learner and a random batch.

    Args:
        config: the way.
        image_shape: the shape (C, H, W) of an image.
        num_classes: number of classes.
        device: where it runs.
        batch: images of one update, taken in ``config.accumulate_steps`` steps.

    Raises:
        InputError: other blocks learn at other steps, so that no step stands for all; or the batch
            cannot be taken in equal steps.
    """

    def __init__(
        self, config: Config, image_shape: Shape, num_classes: int, device: torch.device, batch: int
    ) -> None:
        check_equal_steps(config, batch)
        self.network = build(config, image_shape=image_shape, num_classes=num_classes).to(device)
        check_steps_alike(self.network)
        self.learner = Learner(self.network, run=Clock(0, LENGTH, 1))
        generator = torch.Generator().manual_seed(0)
        self.batch = batch
        self.part = batch // config.accumulate_steps
        self.x = torch.randn(batch, *image_shape, generator=generator).to(device)
        self.y = torch.randint(num_classes, (batch,), generator=generator).to(device)

    def step(self) -> float:
        """One update of ``batch`` images; its seconds."""
        device = self.x.device
        started = now(device)
        for x, y in zip(self.x.split(self.part), self.y.split(self.part), strict=True):
            self.learner.step(x, y)
        return now(device) - started

    def memory(self) -> Mapping[str, int]:
        """Bytes of one update at its worst moment; on a CPU of the code that is not compiled.

        Returns:
            ``activations`` (what the update adds at its peak, without complete gradients),
            ``gradients`` (of all parameters), ``state`` (weights, buffers and optimizer state) and
            ``total`` (state and peak).
        """
        self.step()  # the optimizer's state is made by the first one
        device = self.x.device
        gradients = sum(p.nbytes for p in self.network.parameters() if p.requires_grad)
        state = sum(tensor.nbytes for tensor in self._state())
        if device.type == "cuda":
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            self.step()
            peak = torch.cuda.max_memory_allocated(device) - before
            # The allocator does not know what is a gradient; the tracker keeps torch from running
            # compiled code.
            with LiveBytes(self.network.parameters()) as tracker:
                self.step()
            activations = peak - (tracker.peak - tracker.peak_activations)
        else:
            with LiveBytes(self.network.parameters()) as tracker:
                self.step()
            peak, activations = tracker.peak, tracker.peak_activations
        return {
            "activations": activations,
            "gradients": gradients,
            "state": state,
            "total": state + peak,
        }

    def _state(self) -> list[torch.Tensor]:
        return [*self.network.state_dict().values(), *self.learner.state_dict()["tensors"].values()]


def trial_config(
    method: str, model: Mapping[str, Any], batch: int, values: Mapping[str, Any]
) -> Config:
    """The configuration of one way to train, without readouts, which learn on top of the blocks.

    Args:
        method: its name.
        model: the network, with all its options, so that every way has the same.
        batch: images of a step.
        values: further configuration keys.
    """
    config = resolve({**values, "method": method, "model": model, "batch_size": batch})
    return config.model_copy(update={"readouts": {}, "readout": "auto"})
