from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from goodness.clock import Clock
from goodness.engine import micro_batch
from goodness.engine.gradients import Gradients
from goodness.engine.network import Network
from goodness.engine.optimizers import OPTIMIZERS
from goodness.engine.rates import RATES
from goodness.engine.seeds import mix, seed_generators
from goodness.engine.segment import look_ahead, run_segment
from goodness.errors import InputError
from goodness.functional import stretch
from goodness.objective import Look
from goodness.readout import Readout
from goodness.schedule import Segment
from goodness.update import Outcome

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3

PENDING, AVERAGED, HELD = "pending", "averaged", "held"


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
        class_weights: (K,), a weight on the losses of each class; None weighs all alike.

    Raises:
        InputError: nothing is left to train, or there are more or fewer weights than classes.
    """

    def __init__(self, network: Network, class_weights: Tensor | None = None) -> None:
        config = network.config
        if config.micro_batch is not None:
            micro_batch.check(network)
        classes = network[0].spec.classes
        if class_weights is not None and len(class_weights) != classes:
            raise InputError(f"class_weights: {len(class_weights)} for {classes} classes")
        self.network = network
        self._rate: Mapping[str, Any] = config.rate
        self._class_weights = None if class_weights is None else class_weights.to(network.device)
        owned = {str(owner): group for owner, group in self._owned_by_segments().items() if group}
        options = dict.fromkeys(owned, config.optimizer)
        for name, readout in network.readouts.items():
            readout.class_weights = self._class_weights
            if readout.learns:
                owned[name] = dict.fromkeys(readout.parameters(), 1.0)
                options[name] = {**config.optimizer, **readout.optimizer_options()}
        self.parameters = {owner: list(group) for owner, group in owned.items()}
        if not self.parameters and config.freeze_until is not None:
            raise InputError(
                f"freeze_until: with method '{config.method}' nothing is left to train behind"
                f" '{config.freeze_until}'"
            )
        self.base_rates = {owner: float(options[owner]["lr"]) for owner in owned}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            owner: OPTIMIZERS.make(options[owner], _by_factor(group))
            for owner, group in owned.items()
        }
        self._gradients = Gradients(self.parameters, config, network.device)
        self._averaged: ModelEmaV3 | None = None
        if config.ema is not None:
            from timm.utils import ModelEmaV3  # late: timm takes seconds to import

            self._averaged = ModelEmaV3(network, decay=config.ema, use_warmup=True)
        self._looks_ahead = any(
            block.objective is not None and block.objective.looks_ahead for block in network
        )

    @property
    def answering(self) -> Network:
        """The network to be asked: the one trained, or the moving average of its weights."""
        return self.network if self._averaged is None else cast(Network, self._averaged.module)

    def _owned_by_segments(self) -> dict[int, dict[nn.Parameter, float]]:
        """The parameters of every owner, each with the factor on its learning rate."""
        network = self.network
        factors = stretch(network.config.lr_factors or [1.0], len(network))
        owned: dict[int, dict[nn.Parameter, float]] = {}
        for segment in network.schedule.segments():
            group = owned.setdefault(segment.owner, {})
            for index in segment.blocks:
                learnt = list(network.update.parameters(network[index]))
                if index == 0:
                    learnt += network.presentation.parameters()
                group.update(dict.fromkeys(learnt, factors[index]))
        return owned

    def rate(self, clock: Clock) -> float:
        """The factor on every learning rate at this step."""
        return RATES.make(self._rate, clock)

    def step(self, image: Tensor, y: Tensor, clock: Clock, first: int = 0) -> Report:
        """Learn from one batch.

        Each segment's update is applied before the next segment runs, and its graph is gone by
        then; what it sends on comes from the forward made before the update.

        Args:
            image: preprocessed images (N, C, H, W).
            y: labels (N,), int64.
            clock: steps done so far and the length of the run.
            first: the first block to run; with more than 0, ``image`` is what the block before it,
                which no longer learns, sends on for the images.

        Raises:
            InputError: a single image, from which a batch norm or a pairing cannot learn.
        """
        try:
            return self._step(image, y, clock, first)
        except ValueError as error:
            # What torch's batch norms say when a channel has one value only.
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                "a network cannot learn from a batch of one where a batch norm has a single value"
                " per channel (use a larger --batch-size)"
            ) from None

    def _step(self, image: Tensor, y: Tensor, clock: Clock, first: int) -> Report:
        network = self.network.train()
        seed_generators(image.device, mix(network.config.seed, "labels", clock.step))
        x = image if first else network.present(image, y)
        look = Look(x, image.new_empty((0, *network.image)) if first else image)
        if self._looks_ahead:
            look.ahead = self._ahead(x, y, look, clock.step)
        learning = {n: r for n, r in network.readouts.items() if r.learns and r.started(clock)}
        taken: dict[str, list[Tensor | None]] = {name: [] for name in learning}
        # Readouts learn from what the blocks see when they are asked.
        takes_here = bool(learning) and network.presentation.answers == 1
        plan = network.schedule.plan(clock)
        last_judged = max((s.blocks[-1] for s in plan if s.live or s.judged), default=-1)
        losses: list[Tensor | None] = []
        scores: list[Tensor | None] = []
        for segment in plan:
            unused = segment.blocks[0] > last_judged and not takes_here
            if segment.blocks[0] < first or unused:
                for record in (losses, scores, *taken.values()):
                    record += [None] * len(segment.blocks)
                continue
            outcome = self._learn(segment, x, y, look, clock)
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
        scores = self._teach(learning, taken, scores, y, clock)
        self._gradients.end_step()
        if self._averaged is not None:
            self._averaged.update(network, clock.step)
        return Report(losses, scores)

    def _learn(self, segment: Segment, x: Tensor, y: Tensor, look: Look, clock: Clock) -> Outcome:
        """Run a segment, part by part of the batch, and update it once."""
        network = self.network
        weights = self._weights(y)
        outcomes, shares = [], []
        for part in micro_batch.parts(x, y, look, network.config.micro_batch):
            run = partial(
                run_segment, network, segment, part.x, part.y, part.look, clock.step, part.number
            )
            if segment.judged:
                own = None if weights is None else weights[part.images]
                weighed = partial(self._weighed, run, part.share, own)
                blocks = [network[index] for index in segment.blocks]
                outcomes.append(network.update(weighed, blocks))
            else:
                outcomes.append(run())
            shares.append(part.share)
        outcome = micro_batch.joined(outcomes, shares, len(y))
        for index, features in outcome.observed.items():
            objective = network[index].objective
            assert objective is not None
            objective.observe(features, y)
        if segment.judged:
            self._apply(str(segment.owner), self.rate(segment.clock or clock))
        return outcome

    def _ahead(self, x: Tensor, y: Tensor, look: Look, step: int) -> list[Tensor | None]:
        """Every block's scores before the step, see `look_ahead`."""
        network = self.network
        scores = [
            look_ahead(network, part.x.detach(), step, part.number)
            for part in micro_batch.parts(x, y, look, network.config.micro_batch)
        ]
        return [micro_batch.together(own, len(y)) for own in zip(*scores, strict=True)]

    def _weights(self, y: Tensor) -> Tensor | None:
        """Each image's class weight (N,), their mean 1: losses average to sum(w l) / sum(w)."""
        if self._class_weights is None:
            return None
        weights = self._class_weights[y]
        return weights / weights.mean()

    def _weighed(self, run: Callable[[], Outcome], share: float, weights: Tensor | None) -> Outcome:
        """The losses so weighed and scaled that the means of all parts add up to the batch's."""
        outcome = run()
        rows = outcome.rows
        if rows is not None:
            if weights is not None:
                weights = weights.repeat(len(rows) // len(weights))
                rows = rows * weights.reshape(-1, *(1,) * (rows.dim() - 1))
            if share < 1:
                rows = rows * share
            outcome.rows = self._gradients.scale(rows)
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
            self._gradients.scale(readout.loss(totals[name], y)).backward()
            self._apply(name, self.rate(readout.clock(clock)))
        return self.network.block_scores(scores, totals)

    def end_epoch(self) -> None:
        """Let the objectives close what they sum over an epoch."""
        for block in self.network:
            if block.objective is not None:
                block.objective.end_epoch()

    def forget(self, count: int) -> None:
        """Free what the optimizers hold for the first blocks, which have learnt."""
        segments = self.network.schedule.segments()
        needed = {segment.owner for segment in segments if segment.blocks.stop > count}
        for owner in {segment.owner for segment in segments} - needed:
            if str(owner) in self.optimizers:
                self.optimizers[str(owner)].state.clear()

    def _apply(self, owner: str, rate: float) -> None:
        if owner not in self.optimizers:
            return
        optimizer = self.optimizers[owner]
        for group in optimizer.param_groups:
            group["lr"] = self.base_rates[owner] * rate * group["factor"]
        self._gradients.apply(owner, optimizer)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The optimizers' state: tensors by ``owner/index/key``, and what is not a tensor.

        The objectives' pending sums stand beside it, as ``pending/block/key``, and so do the moving
        average and gradients that wait for an update.
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
        if self._averaged is not None:
            for key, value in self._averaged.module.state_dict().items():
                tensors[f"{AVERAGED}/0/{key}"] = value
        for place, value in self._gradients.state().items():
            (tensors if isinstance(value, Tensor) else plain)[f"{HELD}/{place}"] = value
        return tensors, plain

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        states: dict[str, dict[int, dict[str, Any]]] = {owner: {} for owner in self.optimizers}
        averaged: dict[str, Tensor] = {}
        held: dict[str, Any] = {}
        for place, value in [*tensors.items(), *plain.items()]:
            owner, index, key = place.rsplit("/", 2)
            if owner == PENDING:
                objective = self.network[int(index)].objective
                assert objective is not None
                objective.pending[key] = value.to(self.network.device)
            elif owner == AVERAGED:
                averaged[key] = value
            elif owner.startswith(HELD):
                held[place.removeprefix(f"{HELD}/")] = value
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
        if self._averaged is not None:
            self._averaged.module.load_state_dict(averaged)
        self._gradients.load_state(held)


def _by_factor(group: Mapping[nn.Parameter, float]) -> list[dict[str, Any]]:
    """Parameter groups of an optimizer, the parameters in the same order."""
    return [
        {"params": [parameter for parameter, _ in run], "factor": factor}
        for factor, run in groupby(group.items(), key=lambda item: item[1])
    ]
