from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from goodness.clock import Clock
from goodness.engine.network import Network
from goodness.engine.optimizers import OPTIMIZERS
from goodness.engine.rates import RATES
from goodness.engine.seeds import mix, seed_generators
from goodness.engine.segment import look_ahead, run_segment
from goodness.errors import InputError
from goodness.objective import Look
from goodness.readout import Readout
from goodness.schedule import Segment
from goodness.update import Outcome

PENDING = "pending"


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
        self._rate: Mapping[str, Any] = config.rate
        self.parameters = {
            str(owner): parameters
            for owner, parameters in self._owned_by_segments().items()
            if parameters
        }
        options = dict.fromkeys(self.parameters, config.optimizer)
        for name, readout in network.readouts.items():
            if readout.learns:
                self.parameters[name] = list(readout.parameters())
                options[name] = {**config.optimizer, **readout.optimizer_options()}
        self.base_rates = {owner: float(options[owner]["lr"]) for owner in self.parameters}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            owner: OPTIMIZERS.make(options[owner], parameters)
            for owner, parameters in self.parameters.items()
        }
        self._looks_ahead = any(
            block.objective is not None and block.objective.looks_ahead for block in network
        )

    def _owned_by_segments(self) -> dict[int, list[nn.Parameter]]:
        network = self.network
        owned: dict[int, dict[nn.Parameter, None]] = {}
        for segment in network.schedule.segments():
            group = owned.setdefault(segment.owner, {})
            for index in segment.blocks:
                group.update(dict.fromkeys(network.update.parameters(network[index])))
                if index == 0:
                    group.update(dict.fromkeys(network.presentation.parameters()))
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

        Raises:
            InputError: a single image, from which a batch norm or a pairing cannot learn.
        """
        try:
            return self._step(image, y, clock)
        except ValueError as error:
            # What torch's batch norms say when a channel has one value only.
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                "a network cannot learn from a batch of one where a batch norm has a single value"
                " per channel (use a larger --batch-size)"
            ) from None

    def _step(self, image: Tensor, y: Tensor, clock: Clock) -> Report:
        network = self.network.train()
        seed_generators(image.device, mix(network.config.seed, "labels", clock.step))
        x = network.present(image, y)
        ahead = look_ahead(network, x.detach(), clock.step) if self._looks_ahead else []
        look = Look(x, image, ahead)
        learning = {n: r for n, r in network.readouts.items() if r.learns and r.started(clock)}
        taken: dict[str, list[Tensor | None]] = {name: [] for name in learning}
        # Readouts learn from what the blocks see when they are asked.
        takes_here = bool(learning) and network.presentation.answers == 1
        plan = network.schedule.plan(clock)
        last_judged = max((s.blocks[-1] for s in plan if s.live or s.judged), default=-1)
        losses: list[Tensor | None] = []
        scores: list[Tensor | None] = []
        for segment in plan:
            if segment.blocks[0] > last_judged and not takes_here:
                losses += [None] * len(segment.blocks)
                scores += [None] * len(segment.blocks)
                continue
            run = partial(run_segment, network, segment, x, y, look, clock.step)
            outcome = self._learn(segment, run, clock)
            losses += outcome.losses
            # Pairs of rows with labels in them have goodness, but no class scores.
            shape = (len(y), network[0].spec.classes)
            scores += [None if own is None or own.shape != shape else own for own in outcome.scores]
            if takes_here:
                for offset, sent in enumerate(outcome.sent):
                    index = segment.blocks[offset]
                    for name, readout in learning.items():
                        own_rows = sent[: len(y)]  # of the positive ones, say
                        taken[name].append(readout.take(index, scores[index], own_rows))
            x = outcome.sent[-1]
        if learning and not takes_here:
            taken = network.features(image, learning)
        return Report(losses, self._teach(learning, taken, scores, y, clock))

    def _learn(self, segment: Segment, run: Callable[[], Outcome], clock: Clock) -> Outcome:
        if not segment.judged:
            return run()
        outcome = self.network.update(run, [self.network[index] for index in segment.blocks])
        self._apply(str(segment.owner), self.rate(segment.clock or clock))
        return outcome

    def _teach(
        self,
        learning: Mapping[str, Readout],
        taken: Mapping[str, list[Tensor | None]],
        scores: list[Tensor | None],
        y: Tensor,
        clock: Clock,
    ) -> list[Tensor | None]:
        """Train the readouts; the blocks' scores, filled up with theirs."""
        totals: dict[str, list[Tensor | None]] = {}
        for name, readout in learning.items():
            totals[name] = readout(taken[name])
            readout.loss(totals[name], y).backward()
            self._apply(name, self.rate(readout.clock(clock)))
        return self.network.block_scores(scores, totals)

    def end_epoch(self) -> None:
        """Let the objectives close what they sum over an epoch."""
        for block in self.network:
            if block.objective is not None:
                block.objective.end_epoch()

    def _apply(self, owner: str, rate: float) -> None:
        if owner not in self.optimizers:
            return
        optimizer = self.optimizers[owner]
        for group in optimizer.param_groups:
            group["lr"] = self.base_rates[owner] * rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The optimizers' state: tensors by ``owner/index/key``, and what is not a tensor.

        The objectives' pending sums stand beside it, as ``pending/block/key``.
        """
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
        for index, block in enumerate(self.network):
            if block.objective is not None:
                for key, value in block.objective.pending.items():
                    tensors[f"{PENDING}/{index}/{key}"] = value
        return tensors, plain

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        states: dict[str, dict[int, dict[str, Any]]] = {owner: {} for owner in self.optimizers}
        for place, value in [*tensors.items(), *plain.items()]:
            owner, index, key = place.rsplit("/", 2)
            if owner == PENDING:
                objective = self.network[int(index)].objective
                assert objective is not None
                objective.pending[key] = value.to(self.network.device)
            else:
                states[owner].setdefault(int(index), {})[key] = value
        for owner, optimizer in self.optimizers.items():
            for place_in_owner, entry in states[owner].items():
                parameter = self.parameters[owner][place_in_owner]
                for key, value in entry.items():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        # Fused optimizers walk through memory: it must be laid out alike.
                        entry[key] = torch.empty_like(parameter).copy_(value)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states[owner]})
