"""What a network says about every image of a split, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from goodness.data import Preprocessing, Split
from goodness.network.network import Network


@dataclass(frozen=True)
class Answers:
    """Answers about N images, on the CPU."""

    classes: Tensor
    """int64 (N,)."""
    confidence: Tensor
    """Their probabilities, (N,)."""


@dataclass(frozen=True)
class Survey:
    """What a network says about N images with labels, on the CPU."""

    y: Tensor
    """The labels, int64 (N,)."""
    final: Answers
    """Of the readout that answers."""
    truth: Tensor
    """The probability that it gives to the true class, (N,)."""
    blocks: list[Answers | None]
    """Of every block's own scores, in network order; None where it has none."""

    def right(self, answers: Answers) -> Tensor:
        """Whether answers are right, bool (N,)."""
        return answers.classes == self.y

    def accuracy(self, answers: Answers | None) -> float | None:
        """The share of right answers; None of none."""
        return None if answers is None else float(self.right(answers).double().mean())

    def confusion(self, classes: int) -> Tensor:
        """(K, K) counts of the final answers: row = true class, column = answer."""
        pairs = torch.bincount(self.y * classes + self.final.classes, minlength=classes**2)
        return pairs.reshape(classes, classes)


def survey(
    network: Network,
    split: Split,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    temperature: float = 1.0,
) -> Survey:
    """Ask a network about every image of a split, without augmentation.

    Args:
        network: asked in evaluation mode, on its own device.
        split: images and labels.
        preprocessing: the training run's.
        batch_size: images at a time.
        temperature: of the final answers' softmax.
    """
    labels, finals, truths = [], [], []
    blocks: list[list[Answers]] = [[] for _ in network]
    workers = network.config.num_workers
    for pixels, y in split.batches(batch_size, network.device, num_workers=workers):
        found = network.evaluate(preprocessing.apply(pixels))
        final = (found.final(network.chosen_readout()).float() / temperature).softmax(1)
        labels.append(y.cpu())
        finals.append(_answers(final))
        truths.append(final.gather(1, y[:, None])[:, 0].cpu())
        for own, scores in zip(blocks, found.blocks, strict=True):
            if scores is not None:
                own.append(_answers(scores.float().softmax(1)))
    return Survey(
        torch.cat(labels),
        _joined(finals),
        torch.cat(truths),
        [_joined(own) if own else None for own in blocks],
    )


def _answers(probabilities: Tensor) -> Answers:
    confidence, classes = probabilities.max(1)
    return Answers(classes.cpu(), confidence.cpu())


def _joined(parts: list[Answers]) -> Answers:
    return Answers(
        torch.cat([part.classes for part in parts]),
        torch.cat([part.confidence for part in parts]),
    )
