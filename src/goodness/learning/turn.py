"""One segment on one batch: what every training loop is made of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from goodness.clock import Clock
from goodness.errors import InputError
from goodness.functional import at_labels
from goodness.learning.parts import Batch, SegmentResult, joined, together
from goodness.learning.recompute import recomputed
from goodness.modes import kept_buffers, unchanged
from goodness.network.block import Block
from goodness.network.network import Network
from goodness.plan import Segment
from goodness.seeds import Draws, kept_generators, mix

if TYPE_CHECKING:
    from goodness.learning.learner import Learner


class Turn:
    """A segment's turn in a training step: `backward`, then `step`.

    `goodness.Learner.turns` makes it. Dropout is seeded per (seed, step, block, part), so that a
    block replayed alone draws the same mask.

    Args:
        learner: whose step it is.
        segment: consecutive blocks that share a graph.
        batch: the rows that enter the first of them, detached.
        clock: where the run is.
    """

    def __init__(self, learner: Learner, segment: Segment, batch: Batch, clock: Clock) -> None:
        self.learner = learner
        self.segment = segment
        self.clock = clock
        self.blocks: list[Block] = [learner.network[index] for index in segment.blocks]
        """The blocks that learn in this turn."""
        through = segment.through
        self._through = [learner.network[index] for index in through] if through else []
        self._batch = batch
        self._result: SegmentResult | None = None

    @property
    def block(self) -> Block:
        """The last of its blocks; most segments have one."""
        return self.blocks[-1]

    @property
    def result(self) -> SegmentResult:
        """What came out of the forward pass, which is run if it has not been."""
        if self._result is None:
            self.backward()
        assert self._result is not None
        return self._result

    @property
    def loss(self) -> Tensor:
        """The sum of its blocks' mean losses, a detached scalar."""
        return torch.stack([loss for loss in self.result.losses if loss is not None]).sum()

    def backward(self) -> None:
        """Forward, and the gradient of the mean loss into ``parameter.grad``; once.

        With ``micro_batch`` a part of the batch after the other, so that the activations of one
        part are there at a time. Gradients that were there before are dropped.

        Raises:
            InputError: a single image, from which a batch norm or a pairing cannot learn.
        """
        if self._result is not None:
            return
        batch, size = self._batch, self.learner.network.config.micro_batch
        self.learner.clear(str(self.segment.owner))
        try:
            # Whatever modes the caller's own code is in.
            plain = torch.autocast(batch.x.device.type, enabled=False)
            with torch.enable_grad(), plain, kept_generators(batch.x.device):
                if size is None:
                    self._result = self._run(batch)
                else:
                    parts = batch.parts(size)
                    self._result = joined([self._run(part) for part in parts], parts)
        except ValueError as error:
            raise of_one_image(error) from None
        for index, features in self._result.observed.items():
            objective = self.learner.network[index].objective
            assert objective is not None
            objective.observe(features, batch.y)
        for index, scores in zip(self.segment.blocks, self._result.scores, strict=True):
            objective = self.learner.network[index].objective
            if scores is not None and objective is not None and objective.difficulty is not None:
                objective.difficulty.observe(scores, batch.y)

    def step(self) -> None:
        """Update the segment's parameters by their gradients, after `backward`."""
        self.backward()
        if self.segment.losses:
            self.learner.apply(str(self.segment.owner), self.segment.clock or self.clock)

    def learn(self) -> None:
        """`backward` and `step`."""
        self.step()

    def _run(self, part: Batch) -> SegmentResult:
        """Forward and backward of a part; its output is computed when the graph is gone."""
        network, segment = self.learner.network, self.segment
        update = network.update
        draws = Draws(network.noise_seed, self.clock.step, part.number)
        result = SegmentResult()
        protected = _Statistics(self.blocks) if network.config.amp == "fp16" else None
        finite: Tensor | None = None
        ahead = unchanged(self._through) if self._through else nullcontext()
        with update.recording(self.blocks) if segment.losses else nullcontext(), ahead:
            rows, value = self._forward(network, part, draws, result)
            if rows is not None and not update.records_body:
                rows = update.recorded(rows)
        if rows is not None:
            update.backward(rows, self.learner.loss_weights(rows, part))
            finite = torch.isfinite(rows).all() if protected is not None else None
        rows = None
        if update.evaluates and segment.losses and segment.training:
            update.estimate(self.blocks, self._evaluation(part, draws), self._noise(part, draws))
        # No gradient passes what the last block gives on: the activations are let go before.
        if not segment.through:
            with torch.no_grad():
                result.outputs.append(network.output(segment.blocks[-1], value, draws))
        if protected is not None and finite is not None:
            protected.keep_if(finite)
        return result

    def _evaluation(self, part: Batch, draws: Draws) -> Callable[[], Tensor]:
        """The weighted losses of the same rows, without a graph, with the weights of the time."""

        @torch.no_grad()
        def losses() -> Tensor:
            with kept_buffers(*self.blocks, *self._through):
                rows, _ = self._forward(self.learner.network, part, draws, SegmentResult())
            assert rows is not None
            factor = self.learner.loss_weights(rows, part)
            return rows if factor is None else rows * factor

        return losses

    def _noise(self, part: Batch, draws: Draws) -> torch.Generator:
        """Random numbers for this segment and part of a step."""
        generator = torch.Generator(part.x.device)
        place = "perturbation", draws.step, self.segment.blocks[0], draws.part
        return generator.manual_seed(mix(draws.seed, *place))

    def _forward(
        self, network: Network, part: Batch, draws: Draws, result: SegmentResult
    ) -> tuple[Tensor | None, Tensor]:
        """The losses added up, (rows,) or (rows, ...), with graph; and what the last body gave."""
        segment, x = self.segment, part.x
        own, ahead = segment.blocks, segment.through
        last = (ahead or own)[-1]
        several = len(segment.losses) + len(ahead) > 1
        records = segment.training and bool(segment.losses) and network.update.records_body
        total: Tensor | None = None
        for index, block in zip((*own, *ahead), (*self.blocks, *self._through), strict=True):
            block.train(segment.training)
            output: Tensor | None = None
            # Behind the last block no gradient flows, so that no graph is kept for it.
            inside = records and index != last
            with torch.set_grad_enabled(records):
                if inside and network.config.recompute:
                    value, output = recomputed(network, index, x, draws)
                else:
                    value = network.value(index, x, True, draws)
            loss = scores = None
            judged = index in segment.losses or index in ahead
            if judged and (objective := block.objective) is not None:
                objective.train()  # a head learns on top of a frozen block too
                features = block.features(value)
                part.context.input = block.input(x.detach())
                part.context.frozen = not segment.training
                scores = objective.scores(features)
                rows = objective.loss(features, scores, part.y, part.context)
                if objective.difficulty is not None:
                    weights = objective.difficulty.weights
                    weights = at_labels(weights, part.y) / at_labels(weights, self._batch.y).mean()
                    rows = rows * weights.reshape(-1, *(1,) * (rows.dim() - 1))
                if objective.observes and index in own:
                    result.observed[index] = features.detach()
                if several:
                    rows = rows.flatten(1).mean(1) if rows.dim() > 1 else rows
                total = rows if total is None else total + rows
                loss, scores = rows.detach().mean(), scores.detach()
            if index in own:
                result.losses.append(loss)
                result.scores.append(scores)
            if index != last:
                if output is None:
                    with torch.set_grad_enabled(inside):
                        output = network.output(index, value, draws)
                x = output
                result.outputs.append(x.detach())
        return total, value.detach()


class _Statistics:
    """Buffers of blocks before a step in half precision, whose overflow would stay in them."""

    def __init__(self, blocks: list[Block]) -> None:
        buffers = (b for block in blocks for b in block.buffers() if b.is_floating_point())
        self._kept = [(buffer, buffer.clone()) for buffer in buffers]

    @torch.no_grad()
    def keep_if(self, finite: Tensor) -> None:
        """Take them back where a loss was not finite; nothing waits for the device."""
        for buffer, before in self._kept:
            buffer.copy_(torch.where(finite, buffer, before))


def of_one_image(error: ValueError) -> Exception:
    """What torch's batch norms say when a channel has one value only, in words that help."""
    if "more than 1 value per channel" not in str(error):
        return error
    return InputError(
        "a network cannot learn from a batch of one where a batch norm has a single value per"
        " channel (use larger batches)"
    )


@torch.no_grad()
def later_scores(network: Network, batch: Batch, clock: Clock) -> list[Tensor | None]:
    """Every block's scores before a step, as the step's own forward will find them.

    Batch norms see the batch, but their running statistics stay as they were.
    """
    found: list[list[Tensor | None]] = []
    for part in batch.parts(network.config.micro_batch or len(batch.y)):
        draws = Draws(network.noise_seed, clock.step, part.number)
        scores: list[Tensor | None] = []
        plain = torch.autocast(part.x.device.type, enabled=False)
        with kept_buffers(network.blocks), plain, kept_generators(part.x.device):
            x = part.x.detach()
            for segment in network.plan.at(clock):
                for index in segment.blocks:
                    block = network[index].train(segment.training)
                    if index in segment.losses and block.objective is not None:
                        block.objective.train()
                for index, value, output in network.walk(x, segment.blocks, True, draws):
                    x = output
                    scores.append(network[index].scores(value))
        found.append(scores)
    return [together(own, len(batch.y)) for own in zip(*found, strict=True)]
