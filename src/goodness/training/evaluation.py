from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from goodness.data import Preprocessing, Split
from goodness.network.network import Network
from goodness.results import SplitResult

MOST_IMAGES = 256
ASKED_PIXELS = 2**18
"""Memory of an answer stays bounded: no more pixels at a time, in no more images."""


def images_at_once(image_shape: tuple[int, int, int], most: int = MOST_IMAGES) -> int:
    """How many images (C, H, W) a network is asked about at a time."""
    _, height, width = image_shape
    return max(1, min(most, ASKED_PIXELS // (height * width)))


@dataclass
class Counts:
    """Right answers over one split, on the device until they are asked for."""

    classes: int
    blocks: list[Tensor | None]
    """Of every block; None where it has no scores."""
    readouts: dict[str, Tensor] = field(default_factory=dict)
    """Of every readout."""
    top5: dict[str, Tensor] = field(default_factory=dict)
    confusion: dict[str, Tensor] = field(default_factory=dict)
    """Per readout, (K, K) counts: row = true class, column = answer."""
    examples: int = 0
    seconds: float = 0.0

    def best_readout(self) -> str:
        """The readout with the most right answers; the first of equals."""
        return max(self.readouts, key=lambda name: int(self.readouts[name]))

    def result(self, readout: str) -> SplitResult:
        """The counts as fractions, where this readout answers."""

        def share(count: Tensor) -> float:
            return int(count) / self.examples

        return SplitResult(
            accuracy=share(self.readouts[readout]),
            top5=share(self.top5[readout]) if self.classes > 5 else None,
            per_block=[None if count is None else share(count) for count in self.blocks],
            readout=readout,
            readouts={name: share(count) for name, count in self.readouts.items()},
            examples=self.examples,
            seconds=round(self.seconds, 3),
        )


def evaluate(
    network: Network, split: Split, preprocessing: Preprocessing, *, batch_size: int
) -> Counts:
    """Ask the network about every image of a split, without augmentation.

    Args:
        network: asked in evaluation mode, on its own device.
        split: images and labels.
        preprocessing: the training run's.
        batch_size: images per batch; the answers do not depend on it.
    """
    started = time.perf_counter()
    classes = len(preprocessing.classes)
    counts = Counts(classes, [None] * len(network))
    for images, y in split.batches(
        batch_size, network.device, num_workers=network.config.num_workers
    ):
        found = network.evaluate(preprocessing.apply(images))
        counts.examples += len(y)
        for index, scores in enumerate(found.blocks):
            if scores is not None:
                before = counts.blocks[index]
                right = (scores.argmax(1) == y).sum()
                counts.blocks[index] = right if before is None else before + right
        for name in found.readouts:
            final = found.final(name)
            guess = final.argmax(1)
            pairs = torch.bincount(y * classes + guess, minlength=classes**2)
            top5 = (final.topk(min(5, classes), dim=1).indices == y[:, None]).sum()
            _add(counts.readouts, name, (guess == y).sum())
            _add(counts.top5, name, top5)
            _add(counts.confusion, name, pairs.reshape(classes, classes))
    counts.seconds = time.perf_counter() - started
    return counts


def _add(counts: dict[str, Tensor], name: str, more: Tensor) -> None:
    counts[name] = counts[name] + more if name in counts else more
