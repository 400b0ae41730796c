from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest


def _row(epoch: int, blocks: int = 3) -> dict[str, Any]:
    """A line of ``metrics.jsonl``; the first block has neither loss nor scores."""
    trained = [
        {
            "name": f"conv{place + 1}",
            "loss": (place + 1) / epoch if place else None,
            "accuracy": 1 - (place + 1) / (10 * epoch) if place else None,
        }
        for place in range(blocks)
    ]
    return {
        "epoch": epoch,
        "step": 10 * epoch,
        "images_per_second": 1234.5 if epoch > 1 else None,
        "learning_rate": 0.01,
        "train": {"blocks": trained},
        "val": {
            "accuracy": 0.75,
            "readout": "sum",
            "readouts": {"last": 0.5, "sum": 0.75},
            "per_block": [block["accuracy"] for block in trained],
        },
    }


@pytest.fixture
def make_row():
    return _row


@pytest.fixture
def trainer(tmp_path):
    """What the reports see of a loop of 4 epochs of 10 steps, before the first step."""
    fake = SimpleNamespace(
        config=SimpleNamespace(method="asge"),
        dataset=SimpleNamespace(name="digits"),
        run=SimpleNamespace(path=tmp_path),
        epochs=4,
        steps_per_epoch=10,
        block_names=["conv1", "conv2", "conv3"],
        step=0,
        epoch=0,
        history=[],
    )
    fake.live = lambda: {
        "blocks": _row(1)["train"]["blocks"],
        "images_per_second": 2000.0 if fake.step else None,
        "eta": 3661.0 if fake.step else None,
    }
    return fake


@pytest.fixture
def finish_epoch(trainer):
    """Ends an epoch of the loop as the engine does: history first, then the callbacks."""

    def finish(callback) -> None:
        row = _row(len(trainer.history) + 1)
        trainer.history.append(row)
        trainer.step = row["step"]
        trainer.epoch = row["epoch"]
        callback.on_epoch(trainer, row)

    return finish
