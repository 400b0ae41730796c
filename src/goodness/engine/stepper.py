"""Training in a loop that is the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from goodness.clock import Clock
from goodness.engine.learner import Learner
from goodness.engine.network import Network
from goodness.engine.seeds import kept_generators
from goodness.errors import InputError
from goodness.objective import Objective


class Stepper:
    """The learner of a network, and where the user's loop is.

    Args:
        network: its configuration says how long the loop is, or not.

    Raises:
        InputError: class weights are to be balanced, or features to be cached, but the data is not
            known here.
    """

    def __init__(self, network: Network) -> None:
        weights = network.config.class_weights
        if weights == "balanced":
            raise InputError("class_weights: here a list is needed, as the data is not known")
        if network.config.cache is not None:
            raise InputError("cache: here there is none, as the data is not known (leave it out)")
        self.network = network
        self.learner = Learner(network, None if weights is None else torch.tensor(weights))
        self.steps = 0

    @property
    def answering(self) -> Network:
        """The network to be asked, see `Learner.answering`."""
        return self.learner.answering

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Learn from one batch; the mean of the blocks' losses."""
        with kept_generators(self.network.device):
            report = self.learner.step(x, y, self._clock())
        self.steps += 1
        per_epoch = self.network.config.steps_per_epoch
        if per_epoch is not None and self.steps % per_epoch == 0:
            self.learner.end_epoch()
        found = [loss for loss in report.losses if loss is not None]
        return torch.stack(found).mean() if found else torch.zeros((), device=x.device)

    def state(self) -> dict[str, Any]:
        """What beside the weights is needed to go on."""
        tensors, plain = self.learner.state()
        return {"steps": self.steps, "tensors": tensors, "plain": plain}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self.learner.load_state(state["tensors"], state["plain"])
        self.steps = state["steps"]

    def _clock(self) -> Clock:
        config = self.network.config
        if config.steps_per_epoch is not None:
            length = config.steps_per_epoch * config.epochs
            # A loop that goes on for longer stays at the last step's rates.
            return Clock(min(self.steps, length - 1), config.steps_per_epoch, config.epochs)
        if self._needs_length():
            raise InputError(
                f"method '{config.method}' goes by the length of the run: say epochs=... and"
                " steps_per_epoch=..."
            )
        return Clock(self.steps, self.steps + 1, 1)

    def _needs_length(self) -> bool:
        """Whether anything depends on which part of the run a step is in."""
        network = self.network
        objectives = [block.objective for block in network if block.objective is not None]
        first = Clock(0, 1, 1000)
        return (
            network.schedule.needs_length
            or network.config.rate["name"] != "constant"
            or any(type(o).end_epoch is not Objective.end_epoch for o in objectives)
            or any(r.learns and not r.started(first) for r in network.readouts.values())
        )
