from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from goodness.data import Preprocessing, Split
from goodness.network.network import Network


@dataclass
class Evaluation:
    """Counts over one split, on the device until they are asked for."""

    blocks: list[Tensor | None]
    """Correct answers of every block; None where it has no scores."""
    readouts: dict[str, Tensor] = field(default_factory=dict)
    """Correct answers of every readout."""
    top5: dict[str, Tensor] = field(default_factory=dict)
    confusion: dict[str, Tensor] = field(default_factory=dict)
    """Per readout, (K, K) counts: row = true class, column = answer."""
    examples: int = 0
    classes: int = 0
    seconds: float = 0.0

    def accuracy(self, readout: str) -> float:
        """Fraction of right answers, 0 to 1."""
        return int(self.readouts[readout]) / self.examples

    def per_block(self) -> list[float | None]:
        """Each block's own accuracy, in network order."""
        return [None if count is None else int(count) / self.examples for count in self.blocks]

    def accuracies(self) -> dict[str, float]:
        """Every readout's accuracy."""
        return {name: self.accuracy(name) for name in self.readouts}

    def best_readout(self) -> str:
        """The readout with the most right answers; the first of equals."""
        return max(self.readouts, key=lambda name: int(self.readouts[name]))

    def record(self, readout: str) -> dict[str, Any]:
        """The JSON form, fractions 0 to 1; ``top5`` is None where K <= 5."""
        return {
            "accuracy": self.accuracy(readout),
            "top5": int(self.top5[readout]) / self.examples if self.classes > 5 else None,
            "per_block": self.per_block(),
            "readout": readout,
            "readouts": self.accuracies(),
            "examples": self.examples,
            "seconds": round(self.seconds, 3),
        }


def evaluate(
    network: Network,
    split: Split,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
) -> Evaluation:
    """Ask the network about every image of a split, without augmentation.

    Args:
        network: asked in evaluation mode, on its own device.
        split: images and labels.
        preprocessing: the training run's.
        batch_size: images per batch; the answers do not depend on it.
    """
    started = time.perf_counter()
    config = network.config
    classes = len(preprocessing.classes)
    result = Evaluation(blocks=[None] * len(network), classes=classes)
    for images, y in split.batches(batch_size, network.device, num_workers=config.num_workers):
        found = network.evaluate(preprocessing.apply(images, config.normalize))
        result.examples += len(y)
        for index, scores in enumerate(found.blocks):
            if scores is not None:
                right = (scores.argmax(1) == y).sum()
                previous = result.blocks[index]
                result.blocks[index] = right if previous is None else previous + right
        for name in found.readouts:
            final = found.final(name)
            guess = final.argmax(1)
            pairs = torch.bincount(y * classes + guess, minlength=classes**2)
            top5 = (final.topk(min(5, classes), dim=1).indices == y[:, None]).sum()
            _add(result.readouts, name, (guess == y).sum())
            _add(result.top5, name, top5)
            _add(result.confusion, name, pairs.reshape(classes, classes))
    result.seconds = time.perf_counter() - started
    return result


def _add(counts: dict[str, Tensor], name: str, more: Tensor) -> None:
    counts[name] = counts[name] + more if name in counts else more
