"""What tests share: small networks, batches, and whether states are equal bit for bit."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from goodness.learning import Learner
from goodness.network.build import build
from goodness.network.network import Network
from goodness.objective import BlockSpec
from goodness.results import EpochRow
from goodness.training.callbacks import Callback

TINY = {"name": "small-cnn", "widths": [8, 16], "pools": [1]}
"""The smallest network that has two blocks and a pooling."""
SMALL = {"name": "small-cnn", "widths": [6, 8, 10], "pools": [1]}
"""Three blocks and a pooling."""


def tiny_network(method: str = "asge-fast", shape=(1, 8, 8), num_classes: int = 4, **values: Any):
    """A network of two small blocks, or of the ``model`` that is given."""
    return build(method, image_shape=shape, num_classes=num_classes, **{"model": TINY, **values})


def learner_of(network: Network, length: tuple[int, int] = (50, 2), **options: Any) -> Learner:
    """A learner of a run of ``(steps_per_epoch, epochs)``."""
    from goodness.clock import Clock

    return Learner(network, run=Clock(0, *length), **options)


def random_batch(count: int, shape=(1, 8, 8), num_classes: int = 4, seed: int = 0):
    """Random images with every class in turn as labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((count, *shape), generator=generator)
    return images, torch.arange(count) % num_classes


def spec_of(features, *, index: int = 0, count: int = 2, num_classes: int = 3, **values: Any):
    """What an objective is told of a block with such features (C, H, W)."""
    given = {"image_shape": features, "input": features, "output": features, **values}
    given.setdefault("widest", features[0])
    return BlockSpec(index, count, num_classes, features=features, **given)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state that later steps do not change."""
    return {name: value.detach().clone() for name, value in state.items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def all_finite(values: Iterable[Tensor | None]) -> bool:
    """Whether no tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(value).all()) for value in values if value is not None)


def saved_weights(run: Path | str, which: str = "last") -> dict[str, Tensor]:
    """The network's state in a checkpoint of a run."""
    return load_file(Path(run) / which / "network.safetensors")


def step_at(learner: Learner, step: int, images: Tensor, y: Tensor):
    """A learner's step number ``step``, whatever it has done before."""
    learner.steps = step
    return learner.step(images, y)


class At(Callback):
    """Does something to the trainer after one step or one epoch, both counted from 1."""

    def __init__(self, action, step=None, epoch=None):
        self.action, self.step, self.epoch = action, step, epoch

    def on_step(self, trainer):
        if trainer.step == self.step:
            self.action(trainer)

    def on_epoch(self, trainer, row):
        if row.epoch == self.epoch:
            self.action(trainer)


def interrupt(trainer):
    """What a signal handler does."""
    trainer.interrupted = signal.SIGTERM


def without_times(row: EpochRow) -> EpochRow:
    """What of an epoch's numbers is the same on every machine."""
    return replace(row, seconds=0.0, images_per_second=None, data_share=0.0)
