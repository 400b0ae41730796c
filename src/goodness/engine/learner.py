from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from goodness.engine.segment import look_ahead, run_segment, send_last
from goodness.errors import InputError
from goodness.functional import stretch
from goodness.objective import Look, Objective
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


@dataclass
class Flow:
    """What a step hands from each block to the next: activations, and what was noted on the way.

    It is all that a later block needs of the earlier ones, so that another process can go on
    with it.
    """

    x: Tensor
    """What the last block has sent, or what enters the first one, (rows, ...)."""
    losses: list[Tensor | None] = field(default_factory=list)
    """As in `Report`, of the blocks so far."""
    scores: list[Tensor | None] = field(default_factory=list)
    taken: dict[str, list[Tensor | None]] = field(default_factory=dict)
    """What each readout that learns took of the blocks so far."""
    unlabelled: Tensor | None = None
    """What the blocks make of images without a label, where readouts learn from that."""

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name; what is None is left out."""
        named: dict[str, Tensor | None] = {"x": self.x, "unlabelled": self.unlabelled}
        named |= {f"losses/{index}": loss for index, loss in enumerate(self.losses)}
        named |= {f"scores/{index}": scores for index, scores in enumerate(self.scores)}
        for name, taken in self.taken.items():
            named |= {f"taken/{name}/{index}": item for index, item in enumerate(taken)}
        return {name: value for name, value in named.items() if value is not None}

    @classmethod
    def of(cls, named: Mapping[str, Tensor], blocks: int, readouts: Sequence[str]) -> Flow:
        """Take back what `tensors` gave.

        Args:
            named: the tensors.
            blocks: how many blocks they come from.
            readouts: the readouts that learn at this step.
        """

        def listed(prefix: str) -> list[Tensor | None]:
            return [named.get(f"{prefix}/{index}") for index in range(blocks)]

        return cls(
            named["x"],
            listed("losses"),
            listed("scores"),
            {name: listed(f"taken/{name}") for name in readouts},
            named.get("unlabelled"),
        )


class Learner:
    """Trains a network step by step: it owns the optimizers and knows the clock.

    Args:
        network: what to train, as its configuration says.
        class_weights: (K,), a weight on the losses of each class; None weighs all alike.
        blocks: train these alone, for which no segment may reach across their ends; None: all.

    Raises:
        InputError: there are more or fewer weights than classes.
    """

    def __init__(
        self,
        network: Network,
        class_weights: Tensor | None = None,
        blocks: range | None = None,
    ) -> None:
        config = network.config
        if config.micro_batch is not None:
            micro_batch.check(network)
        classes = network[0].spec.classes
        if class_weights is not None and len(class_weights) != classes:
            raise InputError(f"class_weights: {len(class_weights)} for {classes} classes")
        self.network = network
        self.blocks = range(len(network)) if blocks is None else blocks
        """The blocks that are trained here; the readouts are trained where the last block is."""
        self._rate: Mapping[str, Any] = config.rate
        self._class_weights = None if class_weights is None else class_weights.to(network.device)
        owned = {str(owner): group for owner, group in self._owned_by_segments().items() if group}
        options = dict.fromkeys(owned, config.optimizer)
        for name, readout in network.readouts.items():
            readout.class_weights = self._class_weights
            if readout.learns:
                owned[name] = dict.fromkeys(readout.parameters(), 1.0)
                options[name] = {**config.optimizer, **readout.optimizer_options()}
        owned = {owner: group for owner, group in owned.items() if self._trains(owner)}
        self.parameters = {owner: list(group) for owner, group in owned.items()}
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

    @property
    def ends_here(self) -> bool:
        """Whether the last block is among those trained here."""
        return self.blocks.stop == len(self.network)

    def _trains(self, owner: str) -> bool:
        """Whether an optimizer belongs to what is trained here."""
        places = {str(s.owner): s.blocks[-1] for s in self.network.schedule.segments()}
        return places[owner] in self.blocks if owner in places else self.ends_here

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
        self.network.train()
        flow = self._run(self._begin(image, y, clock, first), image, y, clock, first)
        report = self._end(flow, y, clock)
        self._close(clock)
        return report

    def _begin(self, image: Tensor, y: Tensor, clock: Clock, first: int = 0) -> Flow:
        """What enters the first block, or block ``first``."""
        taken: dict[str, list[Tensor | None]] = {n: [None] * first for n in self._learning(clock)}
        if first:
            return Flow(image, [None] * first, [None] * first, taken)
        seed_generators(image.device, mix(self.network.noise_seed, "labels", clock.step))
        return Flow(self.network.present(image, y), taken=taken)

    def _learning(self, clock: Clock) -> dict[str, Readout]:
        """The readouts that learn at this step."""
        readouts = self.network.readouts.items()
        return {n: r for n, r in readouts if r.learns and r.started(clock)}

    def _run(self, flow: Flow, image: Tensor, y: Tensor, clock: Clock, first: int = 0) -> Flow:
        """Train the blocks that are trained here; the same flow, with what they add.

        Args:
            flow: from the blocks before.
            image: images (N, C, H, W); only the first block and some objectives read them.
            y: labels (N,).
            clock: where the run is.
            first: the first block to run.
        """
        network = self.network
        look = Look(flow.x, image.new_empty((0, *network.image)) if first else image)
        if self._looks_ahead:
            look.ahead = self._ahead(flow.x, y, look, clock)
        learning = self._learning(clock)
        # Readouts learn from what the blocks see when they are asked.
        takes_here = bool(learning) and network.presentation.answers == 1
        plan = network.schedule.plan(clock)
        last_judged = max((s.blocks[-1] for s in plan if s.live or s.judged), default=-1)
        for segment in filter(None, (self._inside(segment, first) for segment in plan)):
            if segment.blocks[0] > last_judged and not takes_here:
                flow.losses += [None] * len(segment.blocks)
                flow.scores += [None] * len(segment.blocks)
                continue
            outcome = self._learn(segment, flow.x, y, look, clock)
            flow.losses += outcome.losses
            # Pairs of rows with labels in them have goodness, but no class scores.
            shape = (len(y), network[0].spec.classes)
            flow.scores += [
                None if own is None or own.shape != shape else own for own in outcome.scores
            ]
            if takes_here:
                for offset, sent in enumerate(outcome.sent):
                    index = segment.blocks[offset]
                    for name, readout in learning.items():
                        own_rows = sent[: len(y)]  # of the positive ones, say
                        flow.taken[name].append(readout.take(index, flow.scores[index], own_rows))
            flow.x = outcome.sent[-1]
        self._settle()
        if learning and not takes_here:
            rows = network.unlabelled(image) if flow.unlabelled is None else flow.unlabelled
            taken, flow.unlabelled = network.take(rows, learning, self.blocks)
            for name, items in taken.items():
                flow.taken[name] += items
        return flow

    def _inside(self, segment: Segment, first: int) -> Segment | None:
        """What of a segment is trained here; a frozen one may reach across the ends."""
        blocks = segment.blocks
        own = range(max(blocks.start, self.blocks.start, first), min(blocks.stop, self.blocks.stop))
        return segment._replace(blocks=own) if own else None

    def _end(self, flow: Flow, y: Tensor, clock: Clock) -> Report:
        """Train the readouts on what they took of all blocks."""
        scores = self._teach(self._learning(clock), flow.taken, flow.scores, y, clock)
        self._settle()
        return Report(flow.losses, scores)

    def _close(self, clock: Clock) -> None:
        """What follows the last update of a step."""
        self._gradients.end_step()
        if self._averaged is not None:
            self._averaged.update(self.network, clock.step)

    def _settle(self) -> None:
        """Make sure that every update asked for has been applied; here they are at once."""

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
            send_last(network, segment, outcomes[-1], clock.step, part.number)
            shares.append(part.share)
        outcome = micro_batch.joined(outcomes, shares, len(y))
        for index, features in outcome.observed.items():
            objective = network[index].objective
            assert objective is not None
            objective.observe(features, y)
        if segment.judged:
            self._apply(str(segment.owner), self.rate(segment.clock or clock))
        return outcome

    def _ahead(self, x: Tensor, y: Tensor, look: Look, clock: Clock) -> list[Tensor | None]:
        """Every block's scores before the step, see `look_ahead`."""
        network = self.network
        scores = [
            look_ahead(network, part.x.detach(), clock, part.number)
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
        for objective in self._objectives().values():
            objective.end_epoch()

    def _objectives(self) -> dict[int, Objective]:
        """The objectives of the blocks trained here, by block."""
        found = {index: self.network[index].objective for index in self.blocks}
        return {index: own for index, own in found.items() if own is not None}

    def holds(self, name: str) -> bool:
        """Whether an entry of the network's ``state_dict`` belongs to what is trained here."""
        part, _, rest = name.partition(".")
        if part == "blocks":
            return int(rest.partition(".")[0]) in self.blocks
        return self.blocks.start == 0 if part == "presentation" else self.ends_here

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
        average and gradients that wait for an update. All of what is trained here alone.
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
        for index, objective in self._objectives().items():
            for key, value in objective.pending.items():
                tensors[f"{PENDING}/{index}/{key}"] = value
        if self._averaged is not None:
            for key, value in self._averaged.module.state_dict().items():
                if self.holds(key):
                    tensors[f"{AVERAGED}/0/{key}"] = value
        for place, value in self._gradients.state().items():
            (tensors if isinstance(value, Tensor) else plain)[f"{HELD}/{place}"] = value
        return tensors, plain

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Take back what `state` gave; of blocks that are not trained here it may be more."""
        for known in self._objectives().values():
            known.pending.clear()  # sums of another history
        states: dict[str, dict[int, dict[str, Any]]] = {owner: {} for owner in self.optimizers}
        held: dict[str, Any] = {}
        for place, value in [*tensors.items(), *plain.items()]:
            owner, index, key = place.rsplit("/", 2)
            if owner == PENDING:
                if (objective := self._objectives().get(int(index))) is not None:
                    objective.pending[key] = value.to(self.network.device)
            elif owner.startswith(HELD):
                held[place.removeprefix(f"{HELD}/")] = value
            elif owner in states:
                states[owner].setdefault(int(index), {})[key] = value
        for owner, optimizer in self.optimizers.items():
            for place_in_owner, entry in states[owner].items():
                parameter = self.parameters[owner][place_in_owner]
                for key, value in entry.items():
                    if isinstance(value, Tensor) and value.shape == parameter.shape:
                        # Fused optimizers walk through memory: it must be laid out alike.
                        entry[key] = torch.empty_like(parameter).copy_(value)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states[owner]})
        self.load_averaged(tensors)
        self._gradients.load_state(held)

    def load_averaged(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the moving average, or a part of it, from what `state` gave."""
        if self._averaged is not None:
            prefix = f"{AVERAGED}/0/"
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            self._averaged.module.load_state_dict(own, strict=False)


def _by_factor(group: Mapping[nn.Parameter, float]) -> list[dict[str, Any]]:
    """Parameter groups of an optimizer, the parameters in the same order."""
    return [
        {"params": [parameter for parameter, _ in run], "factor": factor}
        for factor, run in groupby(group.items(), key=lambda item: item[1])
    ]
