"""What tests share: small networks, batches, and whether states are equal bit for bit."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from goodness.config import resolve
from goodness.learning import Learner
from goodness.network.build import build
from goodness.network.network import Network
from goodness.objective import BlockSpec
from goodness.results import (
    Best,
    BlockTraining,
    EpochRow,
    EpochTraining,
    EpochValidation,
    Status,
)
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


def row_of_epoch(epoch: int, blocks: int = 3, name: str = "conv{}") -> EpochRow:
    """An epoch's numbers; the first block has neither loss nor scores."""
    trained = [
        BlockTraining(
            name=name.format(place + 1),
            loss=(place + 1) / epoch if place else None,
            accuracy=1 - (place + 1) / (10 * epoch) if place else None,
        )
        for place in range(blocks)
    ]
    accuracies = [block.accuracy for block in trained]
    return EpochRow(
        epoch=epoch,
        step=10 * epoch,
        seconds=1.0 * epoch,
        images_per_second=1234.5 if epoch > 1 else None,
        data_share=0.1,
        learning_rate=0.01,
        train=EpochTraining(trained),
        val=EpochValidation(0.75, "sum", {"last": 0.5, "sum": 0.75}, accuracies),
    )


def fake_trainer(path: Path) -> Any:
    """What reports and loggers see of a trainer of 4 epochs of 10 steps, before the first step."""
    fake = SimpleNamespace(
        config=resolve({"method": "asge", "model": TINY, "augment": {"crop": 1}}),
        dataset=SimpleNamespace(name="digits"),
        run=SimpleNamespace(path=path),
        epochs=4,
        steps_per_epoch=10,
        block_names=["conv1", "conv2", "conv3"],
        network=[SimpleNamespace(objective=None)] * 3,
        step=0,
        epoch=0,
        history=[],
        best=Best(1, 0.75, "sum", 0.75),
    )
    fake.status = lambda: Status(
        row_of_epoch(1).train.blocks, *((2000.0, 3661.0) if fake.step else (None, None))
    )
    return fake


def finish(trainer: Any, callback: Callback) -> None:
    """Ends an epoch as the trainer does: history first, then the callbacks."""
    row = row_of_epoch(len(trainer.history) + 1)
    trainer.history.append(row)
    trainer.step = row.step
    trainer.epoch = row.epoch
    callback.on_epoch(trainer, row)
