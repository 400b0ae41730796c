from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from goodness.engine.network import Network
from goodness.engine.optimizers import OPTIMIZERS
from goodness.engine.rates import RATES, Clock
from goodness.engine.segment import run_segment
from goodness.update import UPDATES


@dataclass
class Report:
    """One training step, per block; on the device, nothing is synchronised."""

    losses: list[Tensor | None]
    """Mean loss of each block (scalars); None where it was not judged."""
    scores: list[Tensor | None]
    """Class scores (N, K), from the forward made before the update."""


class Learner:
    """Trains a network step by step: it owns the optimizers and knows the clock.

    Args:
        network: what to train, as its configuration says.
    """

    def __init__(self, network: Network) -> None:
        config = network.config
        self.network = network
        self.update = UPDATES.make(config.update)
        self._rate: Mapping[str, Any] = config.rate
        self.parameters = {
            str(owner): parameters for owner, parameters in self._owned_by_segments().items()
        }
        self.base_rates = dict.fromkeys(self.parameters, float(config.optimizer["lr"]))
        for name, readout in network.readouts.items():
            if readout.learns:
                self.parameters[name] = list(readout.parameters())
                self.base_rates[name] = readout.lr or float(config.optimizer["lr"])
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            owner: OPTIMIZERS.make(config.optimizer, parameters)
            for owner, parameters in self.parameters.items()
        }

    def _owned_by_segments(self) -> dict[int, list[nn.Parameter]]:
        owned: dict[int, dict[nn.Parameter, None]] = {}
        for segment in self.network.schedule.segments():
            group = owned.setdefault(segment.owner, {})
            for index in segment.blocks:
                group.update(dict.fromkeys(self.network.blocks[index].parameters()))
        return {owner: list(group) for owner, group in owned.items()}

    def rate(self, clock: Clock) -> float:
        """The factor on every learning rate at this step."""
        return RATES.make(self._rate, clock)

    def step(self, image: Tensor, y: Tensor, clock: Clock) -> Report:
        """Learn from one batch.

        Each segment's update is applied before the next segment runs, and its graph is gone by
        then; what it sends on comes from the forward made before the update.

        Args:
            image: preprocessed images (N, C, H, W).
            y: labels (N,), int64.
            clock: steps done so far and the length of the run.
        """
        network = self.network.train()
        rate = self.rate(clock)
        x = network.present(image, y)
        losses: list[Tensor | None] = []
        scores: list[Tensor | None] = []
        learning = {name: r for name, r in network.readouts.items() if r.learns}
        taken: dict[str, list[Tensor | None]] = {name: [] for name in learning}
        for segment in network.schedule.plan(clock.step):
            run = partial(run_segment, network, segment, x, y, clock.step)
            owner = str(segment.owner)
            outcome = self.update(run, self.parameters[owner])
            self._apply(owner, rate)
            losses += outcome.losses
            scores += outcome.scores
            for offset, sent in enumerate(outcome.sent):
                index = segment.blocks[offset]
                for name, readout in learning.items():
                    taken[name].append(readout.take(index, outcome.scores[offset], sent))
            x = outcome.sent[-1]
        totals: dict[str, list[Tensor | None]] = {}
        for name, readout in learning.items():
            totals[name] = readout(taken[name])
            readout.loss(totals[name], y).backward()
            self._apply(name, rate)
        return Report(losses, network.block_scores(scores, totals))

    def _apply(self, owner: str, rate: float) -> None:
        optimizer = self.optimizers[owner]
        for group in optimizer.param_groups:
            group["lr"] = self.base_rates[owner] * rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The optimizers' state: tensors by ``owner/index/key``, and what is not a tensor."""
        tensors: dict[str, Tensor] = {}
        plain: dict[str, Any] = {}
        for owner, optimizer in self.optimizers.items():
            for index, entry in optimizer.state_dict()["state"].items():
                for key, value in entry.items():
                    place = f"{owner}/{index}/{key}"
                    if isinstance(value, Tensor):
                        tensors[place] = value
                    elif value is not None:
                        plain[place] = value
        return tensors, plain

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        states: dict[str, dict[int, dict[str, Any]]] = {owner: {} for owner in self.optimizers}
        for place, value in [*tensors.items(), *plain.items()]:
            owner, index, key = place.rsplit("/", 2)
            states[owner].setdefault(int(index), {})[key] = value
        for owner, optimizer in self.optimizers.items():
            for place_in_owner, entry in states[owner].items():
                parameter = self.parameters[owner][place_in_owner]
                for key, value in entry.items():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        # Fused optimizers walk through memory: it must be laid out alike.
                        entry[key] = torch.empty_like(parameter).copy_(value)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states[owner]})
