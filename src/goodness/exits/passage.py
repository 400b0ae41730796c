"""A network run block by block, on the images alone that have not left it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from goodness.modes import evaluating
from goodness.network.network import QUERY_ROWS, Network


class Exit(NamedTuple):
    """When an image may leave behind a block."""

    temperature: float
    thresholds: Tensor
    """(K,), of the confidence in each class."""


class EarlyAnswers(NamedTuple):
    """What N images were answered, and where."""

    scores: Tensor
    """(N, K), divided by their exit's temperature."""
    left: Tensor
    """int64 (N,), the block that each left behind."""


@torch.no_grad()
def answer_early(network: Network, images: Tensor, exits: Mapping[int, Exit]) -> EarlyAnswers:
    """Answer each image behind the first block that is sure enough.

    An image that has left is dropped from the batch before the next block. In evaluation mode;
    every module keeps its mode.

    Args:
        network: whose `readout` answers.
        images: preprocessed (N, C, H, W), on any device.
        exits: by block, the last block among them, behind which all leave.

    Raises:
        InputError: images of another shape.
    """
    network.check_images(images)
    images = images.to(network.device)
    size = max(1, QUERY_ROWS // network.presentation.queries)
    with evaluating(network), torch.autocast(images.device.type, enabled=False):
        parts = [_answer(network, part, exits) for part in images.split(size)]
    return EarlyAnswers(*(torch.cat(own) for own in zip(*parts, strict=True)))


def _answer(network: Network, images: Tensor, exits: Mapping[int, Exit]) -> EarlyAnswers:
    passage, last = Passage(network, images, exits), len(network) - 1
    scores = images.new_empty(len(images), network.num_classes)
    left = torch.full((len(images),), last, device=images.device)
    rows = torch.arange(len(images), device=images.device)
    for index in range(len(network)):
        found = passage.advance()
        if found is None:
            continue
        found = found / exits[index].temperature
        if index == last:
            scores[rows] = found
            break
        sure, answer = found.softmax(1).max(1)
        leaves = sure >= exits[index].thresholds[answer]
        scores[rows[leaves]], left[rows[leaves]] = found[leaves], index
        if not bool(leaves.any()):
            continue
        rows = rows[~leaves]
        if not len(rows):
            break
        passage.keep(~leaves)
    return EarlyAnswers(scores, left)


class Passage:
    """Images on their way through a network, one block after another.

    Heads and readouts are computed only where an exit that is asked for depends on them.

    Args:
        network: in evaluation mode.
        images: preprocessed (N, C, H, W).
        exits: the blocks behind which scores are wanted.
    """

    def __init__(self, network: Network, images: Tensor, exits: Collection[int]) -> None:
        views = [images, images.flip(3)] if network.config.flip_test else [images]
        self._views = [_View(network, view, exits) for view in views]
        self._exits = exits
        self._next = 0

    def advance(self) -> Tensor | None:
        """Run the next block; the scores (n, K) of its exit, of `Network.exits`, if asked for."""
        index = self._next
        self._next += 1
        found = [view.advance(index) for view in self._views]
        if index not in self._exits:
            return None
        scores = [own.float() for own in found if own is not None]
        return torch.stack(scores).mean(0) if len(scores) > 1 else scores[0]

    def keep(self, stays: Tensor) -> None:
        """Go on with some of the images alone.

        Args:
            stays: bool (n,).
        """
        for view in self._views:
            view.keep(stays)


class _View:
    """One view of the images: as they are, or mirrored."""

    def __init__(self, network: Network, images: Tensor, exits: Collection[int]) -> None:
        self.network = network
        self.exits = exits
        known, name = network.readouts, network.chosen_readout()
        self.chosen = known[name]
        self.total: Tensor | None = None
        # They stand in where a block has no answer otherwise.
        self.fillers = [r for n, r in known.items() if r.per_block_scores and n != name]
        self.rows = network.query_rows(images)
        # Readouts with weights see an image with a neutral label, where rows have labels.
        asks = network.presentation.queries > 1
        learnt = asks and any(r.trainable for r in (self.chosen, *self.fillers))
        self.neutral = network.neutral_rows(images) if learnt else None

    def advance(self, index: int) -> Tensor | None:
        """Run block ``index``; its answer (n, K), where it is an exit and has one."""
        network, value = self.network, None
        if self._asks(index):
            value = network.value(index, self.rows)
            self.rows = network.output(index, value)
        shown = self.rows
        if self.neutral is not None:
            _, _, shown = next(network.walk(self.neutral, range(index, index + 1)))
            self.neutral = shown
        scores: Tensor | None = None
        if any(self.chosen.needs(index, exit_) for exit_ in self.exits):
            if self.chosen.needs_scores:
                scores = self._scores(index, value)
            extracted = self.chosen.extract(index, scores, shown)
            self.total = self.chosen.add(index, self.total, extracted)
        if index not in self.exits or self.total is not None:
            return self.total
        if not self.chosen.needs_scores:
            scores = self._scores(index, value)
        for readout in self.fillers:
            if scores is None:
                scores = readout.add(index, None, readout.extract(index, None, shown))
        return scores

    def _asks(self, index: int) -> bool:
        """Whether the rows with labels in them are needed, beside those with a neutral one."""
        if self.neutral is None or self.chosen.needs_scores:
            return True
        # Until the readout begins blocks answer by themselves; at the last one it always answers.
        last = len(self.network) - 1
        return self.total is None and any(index <= exit_ < last for exit_ in self.exits)

    def _scores(self, index: int, value: Tensor | None) -> Tensor | None:
        network = self.network
        return None if value is None else network.class_scores(network[index].scores(value))

    def keep(self, stays: Tensor) -> None:
        """Go on with some of the images alone."""
        queries = self.network.presentation.queries
        self.rows = self.rows[stays.repeat_interleave(queries) if queries > 1 else stays]
        self.total = None if self.total is None else self.total[stays]
        self.neutral = None if self.neutral is None else self.neutral[stays]
