from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from goodness.checks import (
    check_class_weights,
    check_labels,
    check_micro_batch,
    check_own_loop,
)
from goodness.clock import Clock
from goodness.devices import placed
from goodness.errors import Diverged, InputError
from goodness.functional import at_labels, stretch
from goodness.learning.gradients import Gradients
from goodness.learning.parts import Batch
from goodness.learning.turn import Turn, later_scores, of_one_image
from goodness.modes import evaluating
from goodness.network.network import Network
from goodness.objective import Context, Objective
from goodness.optim.lr_schedules import LR_SCHEDULES
from goodness.optim.optimizers import OPTIMIZERS
from goodness.plan import Plan, Segment
from goodness.readout import Readout
from goodness.seeds import Draws, kept_generators

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3

PENDING, AVERAGED, HELD = "pending", "averaged", "held"
GROUP_STEP = "group-step"
CHECK_STEPS = 25
"""How often the losses are looked at for NaN where that waits for the device."""


@dataclass
class StepResult:
    """One training step, per block; on the device, nothing is synchronised."""

    losses: list[Tensor | None]
    """Mean loss of each block (scalars); None where it has none."""
    scores: list[Tensor | None]
    """Class scores (N, K), from the forward made before the update."""

    @property
    def loss(self) -> Tensor:
        """The mean of the blocks' losses, a detached scalar; 0 where no block has learnt."""
        found = [loss for loss in self.losses if loss is not None]
        return torch.stack(found).mean() if found else torch.zeros(())


@dataclass
class PipelineState:
    """What a step hands from each block to the next: activations, and what was noted on the way.

    It is all that a later block needs of the earlier ones, so that another process can go on
    with it.
    """

    x: Tensor
    """The last block's output, or what enters the first one, (rows, ...)."""
    losses: list[Tensor | None] = field(default_factory=list)
    """As in `StepResult`, of the blocks so far."""
    scores: list[Tensor | None] = field(default_factory=list)
    extracted: dict[str, list[Tensor | None]] = field(default_factory=dict)
    """What each readout that learns has extracted of the blocks so far."""
    neutral: Tensor | None = None
    """What the blocks make of images without a label, where readouts learn from that."""

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name; what is None is left out."""
        named: dict[str, Tensor | None] = {"x": self.x, "neutral": self.neutral}
        named |= {f"losses/{index}": loss for index, loss in enumerate(self.losses)}
        named |= {f"scores/{index}": scores for index, scores in enumerate(self.scores)}
        for name, extracted in self.extracted.items():
            named |= {f"extracted/{name}/{index}": item for index, item in enumerate(extracted)}
        return {name: value for name, value in named.items() if value is not None}

    @classmethod
    def of(cls, named: Mapping[str, Tensor], blocks: int, readouts: Sequence[str]) -> PipelineState:
        """Take back what `tensors` gave.

        Args:
            named: the tensors.
            blocks: how many blocks they come from.
            readouts: the readouts that learn at this step.
        """

        def listed(prefix: str) -> list[Tensor | None]:
            return [named.get(f"{prefix}/{index}") for index in range(blocks)]

        extracted = {name: listed(f"extracted/{name}") for name in readouts}
        neutral = named.get("neutral")
        return cls(named["x"], listed("losses"), listed("scores"), extracted, neutral)


class Learner:
    """Trains a network step by step: it owns the optimizers and counts the steps.

        learner = goodness.Learner(network)
        for x, y in loader:
            learner.step(x, y)

    or, the same path turn by turn:

        for x, y in loader:
            for turn in learner.turns(x, y):
                turn.backward()
                turn.step()

    Processes that share the work override `receive`, `deliver`, `apply` and `settle`.

    Args:
        network: what to train, as its configuration says.
        class_weights: (K,), a weight on the losses of each class; None takes the configuration's.
        blocks: for processes that share the blocks: train these alone, for which no segment may
            reach across their ends; None: all.
        run: the length of the run; None takes ``epochs`` and ``steps_per_epoch`` of the
            configuration, if it has both.

    Raises:
        InputError: there are more or fewer weights than classes; or the method, or something that
            was asked for, needs to know the data or the length of the run.
    """

    def __init__(
        self,
        network: Network,
        class_weights: Tensor | None = None,
        blocks: range | None = None,
        run: Clock | None = None,
    ) -> None:
        if not isinstance(network, Network):
            raise InputError(
                f"Learner: a {type(network).__name__} has no blocks that learn: give it what"
                " goodness.build or goodness.localize returns"
            )
        config = network.config
        if run is None:
            if config.steps_per_epoch is not None:
                run = Clock(0, config.steps_per_epoch, config.epochs)
            check_own_loop(network, class_weights, run)
        check_micro_batch(network)
        if blocks is not None and type(self).receive is Learner.receive:
            raise InputError("blocks: who trains some alone has to override receive and deliver")
        if class_weights is None and isinstance(config.class_weights, list):
            class_weights = torch.tensor(config.class_weights)
        check_class_weights(network, class_weights)
        self.network = network
        self.run = run
        """The length of the run; None where it is not known."""
        self.steps = 0
        """Steps done."""
        self.blocks = range(len(network)) if blocks is None else blocks
        """The blocks that are trained here; the readouts are trained where the last block is."""
        self._class_weights = None
        if class_weights is not None:
            self._class_weights = class_weights.to(network.device, torch.float32)
        owned = {str(owner): group for owner, group in self._owned_by_segments().items() if group}
        options = dict.fromkeys(owned, config.optimizer)
        for name, readout in network.readouts.items():
            if readout.trainable:
                owned[name] = dict.fromkeys(readout.parameters(), 1.0)
                options[name] = {**config.optimizer, **readout.optimizer_options()}
        learnt = {p for group in owned.values() for p in group if p.requires_grad}
        self.trained_parameters = sum(parameter.numel() for parameter in learnt)
        """How many parameters optimizers update, heads and readouts included, wherever they are."""
        owned = {owner: group for owner, group in owned.items() if self._trains(owner)}
        self.base_rates = {owner: float(options[owner]["lr"]) for owner in owned}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            owner: OPTIMIZERS.make(options[owner], _by_factor(group))
            for owner, group in owned.items()
        }
        # In the order of the optimizer's state; it may have made groups of its own.
        self.parameters = {
            owner: [p for group in optimizer.param_groups for p in group["params"]]
            for owner, optimizer in self.optimizers.items()
        }
        schedule = dict(config.lr_schedule)
        self._lr_schedule = partial(LR_SCHEDULES[schedule.pop("name")], **schedule)
        self._lr: tuple[Clock, float] | None = None
        self._gradients = Gradients(self.parameters, config, network.device)
        self._averaged: ModelEmaV3 | None = None
        if config.ema is not None:
            from timm.utils import ModelEmaV3  # late: timm takes seconds to import

            self._averaged = ModelEmaV3(network, decay=config.ema, use_warmup=True)
        self._needs_later_scores = any(
            block.objective is not None and block.objective.needs_later_scores for block in network
        )
        self._follows = [i for i, own in self._objectives().items() if own.follows]
        constant = type(network.plan).at is Plan.at
        self._segments = network.plan.segments() if constant else None
        self._initialized = False
        self._bad_step = torch.full((len(network),), -1, device=network.device)
        self._result: StepResult | None = None

    @property
    def clock(self) -> Clock:
        """Where the run is; of a run without a known length it is always the last step."""
        if self.run is None:
            return Clock(self.steps, self.steps + 1, 1)
        return self.run._replace(step=self.steps)

    @property
    def final_network(self) -> Network:
        """The network to keep: the one trained, or the moving average of its weights."""
        return self.network if self._averaged is None else cast(Network, self._averaged.module)

    @property
    def ends_here(self) -> bool:
        """Whether the last block is among those trained here."""
        return self.blocks.stop == len(self.network)

    def _trains(self, owner: str) -> bool:
        """Whether an optimizer belongs to what is trained here."""
        places = {str(s.owner): s.blocks[-1] for s in self.network.plan.segments()}
        return places[owner] in self.blocks if owner in places else self.ends_here

    def _owned_by_segments(self) -> dict[int, dict[nn.Parameter, float]]:
        """The parameters of every owner, each with the factor on its learning rate."""
        network = self.network
        factors = stretch(network.config.lr_factors or [1.0], len(network))
        owned: dict[int, dict[nn.Parameter, float]] = {}
        for segment in network.plan.segments():
            group = owned.setdefault(segment.owner, {})
            for index in segment.blocks:
                learnt = list(network.update.parameters(network[index]))
                if index == 0:
                    learnt += network.presentation.parameters()
                group.update(dict.fromkeys(learnt, factors[index]))
        return owned

    def lr_factor(self, clock: Clock) -> float:
        """The factor on every learning rate at this step; behind the run's end the last one's."""
        if self._lr is None or self._lr[0] != clock:
            self._lr = clock, self._lr_schedule(clock.within_run())
        return self._lr[1]

    # The step.

    def step(self, images: Tensor, y: Tensor, first: int = 0) -> StepResult:
        """Learn from one batch: every turn of `turns`.

        Args:
            images: preprocessed images (N, C, H, W).
            y: labels (N,), int64; or soft ones (N, K), rows that add up to 1, for methods whose
                losses take them (mixup, CutMix).
            first: the first block to run; with more than 0, ``images`` is what the block before it,
                which no longer learns, gives on for the images.

        Raises:
            InputError: images or labels that do not fit, or that are not finite; a single image,
                from which a batch norm or a pairing cannot learn.
            RunError: a loss is not finite; on a GPU up to 25 steps later.
        """
        for turn in self.turns(images, y, first):
            turn.learn()
        assert self._result is not None
        return self._result

    def turns(self, images: Tensor, y: Tensor, first: int = 0) -> Iterator[Turn]:
        """The turns of one step, to be learnt one after another; `step` learns them all.

        Each segment's update is applied before the next segment runs, and its graph is gone by
        then; what it gives on comes from the forward made before the update. With the last turn the
        step ends: readouts and moving averages are updated.

        Args:
            images: as for `step`.
            y: as for `step`.
            first: as for `step`.
        """
        network, clock = self.network, self.clock
        images, y = self._checked(images, y, first)
        if not (self._initialized or first):
            self.initialize([images])
        self._gradients.end_step()  # of one that was broken off
        network.train()
        state = self.receive(images, y, clock, first)
        context = Context(state.x, images.new_empty((0, *network.image_shape)) if first else images)
        if self._needs_later_scores:
            try:
                found = later_scores(network, Batch(state.x, y, context), clock)
            except ValueError as error:
                raise of_one_image(error) from None
            context.later_scores = found
            context.left = [
                None
                if scores is None or block.objective is None
                else block.objective.leaves(scores)
                for block, scores in zip(network, found, strict=True)
            ]
        learning, weights = self.learning_readouts(clock), self.image_weights(y)
        # Readouts learn from what the blocks see when they are asked.
        extracts_here = bool(learning) and network.presentation.queries == 1
        plan = self._segments or network.plan.at(clock)
        last = max((s.blocks[-1] for s in plan if s.training or s.losses), default=-1)
        for segment in filter(None, (self._inside(segment, first) for segment in plan)):
            if segment.blocks[0] > last and not extracts_here:
                state.losses += [None] * len(segment.blocks)
                state.scores += [None] * len(segment.blocks)
                continue
            turn = Turn(self, segment, Batch(state.x, y, context, weights=weights), clock)
            if segment.losses:
                yield turn
            result = turn.result
            state.losses += result.losses
            # Pairs of rows with labels in them have goodness, but no class scores.
            shape = (len(y), network.num_classes)
            state.scores += [
                s if s is not None and s.shape == shape else None for s in result.scores
            ]
            if extracts_here:
                for index, output in zip(segment.blocks, result.outputs, strict=True):
                    own_rows = output[: len(y)]  # of the positive ones, say
                    for name, readout in learning.items():
                        extracted = readout.extract(index, state.scores[index], own_rows)
                        state.extracted[name].append(extracted)
            state.x = result.outputs[-1]
        self.settle()
        if learning and not extracts_here:
            self._extract_neutral(state, images, learning)
        try:
            self._result = self.deliver(state, y, clock)
        except ValueError as error:
            raise of_one_image(error) from None
        self._close(self._result.losses)

    def initialize(self, batches: Iterable[Tensor]) -> None:
        """`Network.initialize` where the first block is trained; averages start from there.

        `turns` does it with the first batch, if nobody has.

        Args:
            batches: preprocessed images (n, C, H, W) each.
        """
        self._initialized = True
        changed = self.blocks.start == 0 and self.network.initialize(batches)
        if changed and self._averaged is not None:
            self._averaged.module.load_state_dict(self.network.state_dict())

    def _checked(self, images: Tensor, y: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """A batch on the network's device."""
        network = self.network
        if torch.is_inference_mode_enabled():
            raise InputError("nothing can be learnt in inference mode: leave torch.inference_mode")
        for what, given in (("images", images), ("labels", y)):
            if not isinstance(given, Tensor) or given.dim() == 0:
                raise InputError(f"{what}: a tensor with a row per image is needed")
        if len(y) == 0:
            raise InputError("a batch of no images: leave it out")
        check_labels(network, y, len(images))
        if not first:
            network.check_images(images)
        # Those on a device are left to it, as looking at them would wait for it.
        known = images.device.type == "cpu" and not first
        if known and not bool(torch.isfinite(images).all()):
            raise InputError("an image holds NaN or infinity: nothing was learnt from the batch")
        if self.run is not None and self.steps == self.run.steps:
            warnings.warn(
                f"the run is over after {self.run.steps} steps: what follows learns at the last"
                " step's rate (give more epochs or steps_per_epoch)",
                stacklevel=4,
            )
        if images.is_meta:
            return images, y
        y = y if y.dim() == 1 else y.to(images.dtype)
        return images.detach().to(network.device), y.to(network.device)

    def receive(self, images: Tensor, y: Tensor, clock: Clock, first: int) -> PipelineState:
        """What enters the first block that is trained here, or block ``first``."""
        extracted: dict[str, list[Tensor | None]]
        extracted = {name: [None] * first for name in self.learning_readouts(clock)}
        if first:
            return PipelineState(images, [None] * first, [None] * first, extracted)
        network = self.network
        with kept_generators(images.device):
            Draws(network.noise_seed, clock.step).begin(images.device, "labels")
            return PipelineState(network.training_rows(images, y), extracted=extracted)

    def learning_readouts(self, clock: Clock) -> dict[str, Readout]:
        """The readouts that learn at this step."""
        readouts = self.network.readouts.items()
        return {n: r for n, r in readouts if r.trainable and r.started(clock)}

    def _inside(self, segment: Segment, first: int) -> Segment | None:
        """What of a segment is trained here; a frozen one may reach across the ends."""
        blocks = segment.blocks
        own = range(max(blocks.start, self.blocks.start, first), min(blocks.stop, self.blocks.stop))
        return segment._replace(blocks=own) if own else None

    @torch.no_grad()
    def _extract_neutral(
        self, state: PipelineState, images: Tensor, learning: Mapping[str, Readout]
    ) -> None:
        """What the readouts extract of images that are shown without a label."""
        network = self.network
        with evaluating(network):
            rows = network.neutral_rows(images) if state.neutral is None else state.neutral
            extracted, state.neutral = network.extract(rows, learning, self.blocks)
        for name, items in extracted.items():
            state.extracted[name] += items

    def deliver(self, state: PipelineState, y: Tensor, clock: Clock) -> StepResult:
        """What follows the last block that is trained here: the readouts learn."""
        totals: dict[str, list[Tensor | None]] = {}
        for name, readout in self.learning_readouts(clock).items():
            self.clear(name)
            readout.class_weights = self._class_weights
            with torch.enable_grad(), torch.autocast(y.device.type, enabled=False):
                found = readout(state.extracted[name])
                loss = self._gradients.scale(readout.loss(found, y))
                # Into the readout alone, whatever else it may hold.
                if own := [p for p in self.parameters.get(name, []) if p.requires_grad]:
                    loss.backward(inputs=own)
            totals[name] = [None if total is None else total.detach() for total in found]
            self.apply(name, readout.clock(clock))
        self.settle()
        return StepResult(state.losses, self.network.block_scores(state.scores, totals))

    def _close(self, losses: Sequence[Tensor | None]) -> None:
        """What follows the last update of a step."""
        self._gradients.end_step()
        for index in self._follows:
            objective = self.network[index].objective
            if objective is not None and losses[index] is not None:
                objective.follow(self.network[index + 1].body)
        if self._averaged is not None:
            self._averaged.update(self.network, self.steps)
        for index, loss in enumerate(losses):
            if loss is not None:
                first = (self._bad_step[index] < 0) & ~torch.isfinite(loss)
                self._bad_step[index] = torch.where(first, self.steps, self._bad_step[index])
        self.steps += 1
        if self._bad_step.device.type == "cpu" or self.steps % CHECK_STEPS == 0:
            self.check_finite()
        if self.run is not None and self.steps % self.run.steps_per_epoch == 0:
            self.end_epoch()

    def end_epoch(self) -> None:
        """Let the objectives close what they sum over an epoch; `turns` does it at its end."""
        for objective in self._objectives().values():
            objective.end_epoch()
            if objective.difficulty is not None:
                objective.difficulty.end_epoch()

    def check_finite(self) -> None:
        """Wait for the device and look at all losses so far.

        Raises:
            RunError: one was not finite.
        """
        bad = [(step, index) for index, step in enumerate(self._bad_step.tolist()) if step >= 0]
        if bad:
            step, index = min(bad)
            self._bad_step.fill_(-1)  # said; whoever goes on is told of the next one
            raise Diverged(f"the loss of block '{self.network[index].name}'", step)

    def image_weights(self, y: Tensor) -> Tensor | None:
        """Each image's class weight (N,), their mean 1: losses average to sum(w l) / sum(w)."""
        if self._class_weights is None:
            return None
        weights = at_labels(self._class_weights, y)
        return weights / weights.mean()

    def loss_weights(self, rows: Tensor, part: Batch) -> Tensor | None:
        """What losses are multiplied by, so that the means of all parts add up to the batch's.

        Args:
            rows: losses (rows, ...).
            part: of the batch, whose rows come one presentation after the other.

        Returns:
            A tensor that broadcasts over ``rows``, or None where it would be 1.
        """
        factor: Tensor | None = None
        if part.weights is not None:
            own = part.weights.repeat(len(rows) // len(part.weights))
            factor = own.reshape(-1, *(1,) * (rows.dim() - 1))
        if part.share < 1:
            factor = rows.new_tensor(part.share) if factor is None else factor * part.share
        return self._gradients.scaled(factor, rows) if self._gradients.scales else factor

    def apply(self, owner: str, clock: Clock) -> None:
        """Update an owner's parameters by the gradients that a backward pass has left."""
        if owner not in self.optimizers:
            return
        optimizer, rate = self.optimizers[owner], self.base_rates[owner] * self.lr_factor(clock)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self._gradients.apply(owner, optimizer)

    def clear(self, owner: str) -> None:
        """Drop gradients that an owner's parameters have from somewhere else."""
        for parameter in self.parameters.get(owner, ()):
            parameter.grad = None

    def settle(self) -> None:
        """Make sure that every update asked for has been applied; here they are at once."""

    # What stays between steps.

    def finish(self) -> None:
        """End the training: the network gets the averaged weights, if there are any."""
        if self._averaged is not None:
            self.network.load_state_dict(self.final_network.state_dict())

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
        segments = self.network.plan.segments()
        needed = {segment.owner for segment in segments if segment.blocks.stop > count}
        for owner in {segment.owner for segment in segments} - needed:
            if str(owner) in self.optimizers:
                self.optimizers[str(owner)].state.clear()

    def state_dict(self) -> dict[str, Any]:
        """What beside the network's weights is needed to go on as if never stopped.

        Returns:
            ``steps``, ``tensors`` and ``plain`` (what is no tensor). The optimizers' state stands
            under ``owner/index/key``, the objectives' sums under ``pending/block/key``; so do the
            moving average and gradients that wait for an update. All of what is trained here alone.
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
            for index, group in enumerate(optimizer.param_groups):
                if "step" in group:  # some of timm's count there
                    plain[f"{owner}/{index}/{GROUP_STEP}"] = group["step"]
        for index, objective in self._objectives().items():
            for key, value in objective.pending.items():
                tensors[f"{PENDING}/{index}/{key}"] = value
        if self._averaged is not None:
            for key, value in self._averaged.module.state_dict().items():
                if self.holds(key):
                    tensors[f"{AVERAGED}/0/{key}"] = value
        for place, value in self._gradients.state().items():
            (tensors if isinstance(value, Tensor) else plain)[f"{HELD}/{place}"] = value
        return {"steps": self.steps, "tensors": tensors, "plain": plain}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; of blocks that are not trained here it may be more."""
        self.steps = state["steps"]
        self._bad_step.fill_(-1)
        for known in self._objectives().values():
            known.pending.clear()  # sums of another history
        states: dict[str, dict[int, dict[str, Any]]] = {owner: {} for owner in self.optimizers}
        held: dict[str, Any] = {}
        for place, value in [*state["tensors"].items(), *state["plain"].items()]:
            owner, index, key = place.rsplit("/", 2)
            if owner == PENDING:
                if (objective := self._objectives().get(int(index))) is not None:
                    objective.pending[key] = placed(value, self.network.device)
            elif owner.startswith(HELD):
                held[place.removeprefix(f"{HELD}/")] = value
            elif key == GROUP_STEP:
                if owner in self.optimizers:
                    self.optimizers[owner].param_groups[int(index)]["step"] = value
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
        if self._averaged is not None and not any(k.startswith(AVERAGED) for k in state["tensors"]):
            self._averaged.module.load_state_dict(self.network.state_dict())  # there was none
        self.load_averaged(state["tensors"])
        self._gradients.load_state(held)

    def load_averaged(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the moving average, or a part of it, from what `state_dict` gave."""
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
