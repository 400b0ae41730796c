"""One way to train a network, with a batch to step on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from goodness.clock import Clock
from goodness.config import Config, resolve
from goodness.engine.build import build
from goodness.engine.learner import Learner
from goodness.engine.network import Shape
from goodness.errors import InputError
from goodness.profiling.bound import now
from goodness.profiling.memory import LiveBytes

LENGTH = 10_000
"""Steps of the run that the measured steps are the first of."""


class Trial:
    """A network, its learner and a random batch.

    Args:
        config: the way.
        image: the shape (C, H, W) of an image.
        classes: number of classes.
        device: where it runs.
        batch: images of one update, taken in ``config.accumulate`` steps.

    Raises:
        InputError: other blocks learn at other steps, so that no step stands for all; or the batch
            cannot be taken in equal steps.
    """

    def __init__(
        self, config: Config, image: Shape, classes: int, device: torch.device, batch: int
    ) -> None:
        if batch % config.accumulate:
            raise InputError(
                f"accumulate: {batch} images cannot be taken in {config.accumulate} equal steps"
                " (use another batch size; a profile measures half of it too)"
            )
        self.network = build(config, image=image, classes=classes).to(device)
        if self.network.schedule.needs_length:
            raise InputError(
                f"'{config.method}' has schedule '{config.schedule['name']}': other blocks learn at"
                " other steps, and no step stands for all (--set schedule=together measures one"
                " where all do)"
            )
        self.learner = Learner(self.network)
        generator = torch.Generator().manual_seed(0)
        self.batch = batch
        self.part = batch // config.accumulate
        self.x = torch.randn(batch, *image, generator=generator).to(device)
        self.y = torch.randint(classes, (batch,), generator=generator).to(device)
        self.steps = 0

    def step(self) -> float:
        """One update of ``batch`` images; its seconds."""
        device = self.x.device
        started = now(device)
        for x, y in zip(self.x.split(self.part), self.y.split(self.part), strict=True):
            self.learner.step(x, y, Clock(self.steps, LENGTH, 1))
            self.steps += 1
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
        return [*self.network.state_dict().values(), *self.learner.state()[0].values()]


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
