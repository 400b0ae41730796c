from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from goodness.cli import main

BLOCKS = ["conv1", "conv2"]


def record(**values: Any) -> dict[str, Any]:
    return {
        "accuracy": 0.75,
        "top5": None,
        "per_block": [None, 0.5],
        "readout": "sum",
        "readouts": {"last": 0.5, "sum": 0.75},
        "examples": 4,
        "seconds": 0.25,
        **values,
    }


class FakeRun:
    """A finished run of two blocks, the first of which has no scores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.classes = ["cat", "dog"]
        self.result = {
            "blocks": BLOCKS,
            "train": {"best_epoch": 2},
            "val": record(per_block=[None, 0.375]),
            "test": record(per_block=[None, 0.25]),
        }
        rows = [
            {
                "epoch": epoch,
                "train": {
                    "blocks": [
                        {"name": "conv1", "accuracy": None},
                        {"name": "conv2", "accuracy": accuracy},
                    ]
                },
            }
            for epoch, accuracy in ((1, 0.1), (2, 0.875), (3, 0.9))
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "metrics.jsonl").write_text(text)
        self.asked: dict[str, Any] = {}

    def evaluate(self, data: str | None = None, **values: Any) -> dict[str, Any]:
        self.asked = {"data": data, **values}
        return {
            "data": data or "pets",
            "split": values["split"],
            "blocks": BLOCKS,
            **record(),
            "confusion": [[2, 0], [1, 1]],
        }

    def predict(self, paths: list[Path]) -> list[dict[str, Any]]:
        blocks = [
            {"name": "conv1", "class": None, "probability": None},
            {"name": "conv2", "class": "cat", "probability": 0.5},
        ]
        return [
            {"file": str(path), "class": "dog", "index": 1, "probability": 0.75, "blocks": blocks}
            for path in paths
        ]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """`goodness.api` replaced by functions that note what they are called with."""
    from goodness import api

    noted = SimpleNamespace(fit=None, plan=None, resume=None, load=None, run=FakeRun(tmp_path))

    def note(name: str, answer: Any) -> None:
        def called(*args: Any, **values: Any) -> Any:
            setattr(noted, name, (args, values))
            return answer

        monkeypatch.setattr(api, name, called)

    note("fit", noted.run)
    note("resume", noted.run)
    note("load", noted.run)
    noted.plan_answer = {
        "config": {"method": "asge", "model": {"name": "vgg8"}},
        "blocks": [
            {"name": "conv1", "judged": [8, 4, 4], "parameters": 1234, "loss": False},
            {"name": "conv2", "judged": [16], "parameters": 99, "loss": True, "grid": 4},
        ],
        "parameters": 1333,
        "train_examples": 4000,
        "epochs": 10,
        "seconds_per_epoch": 30.0,
        "cache_bytes": None,
    }
    note("plan", noted.plan_answer)
    return noted


@pytest.fixture
def goodness(capsys: pytest.CaptureFixture[str]):
    """Runs the command line in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out, err

    return run
