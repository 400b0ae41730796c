from __future__ import annotations

from types import SimpleNamespace

import pytest

from goodness.results import (
    Best,
    BlockTraining,
    EpochRow,
    EpochTraining,
    EpochValidation,
    Status,
)


def _row(epoch: int, blocks: int = 3, name: str = "conv{}") -> EpochRow:
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


@pytest.fixture
def make_row():
    return _row


@pytest.fixture
def trainer(tmp_path):
    """What the reports see of a trainer of 4 epochs of 10 steps, before the first step."""
    fake = SimpleNamespace(
        config=SimpleNamespace(method="asge"),
        dataset=SimpleNamespace(name="digits"),
        run=SimpleNamespace(path=tmp_path),
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
        _row(1).train.blocks, *((2000.0, 3661.0) if fake.step else (None, None))
    )
    return fake


@pytest.fixture
def finish_epoch(trainer):
    """Ends an epoch as the trainer does: history first, then the callbacks."""

    def finish(callback) -> None:
        row = _row(len(trainer.history) + 1)
        trainer.history.append(row)
        trainer.step = row.step
        trainer.epoch = row.epoch
        callback.on_epoch(trainer, row)

    return finish
