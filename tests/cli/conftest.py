from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from goodness.cli import main
from goodness.results import BlockPrediction, DryRun, Evaluation, Prediction, Result

BLOCKS = ["conv1", "conv2"]
FIGURES = {
    "seconds": 1.0,
    "images_per_second": None,
    "data_share": 0.5,
    "peak_memory_bytes": 1,
    "parameters": 1,
    "joules": None,
    "joules_source": None,
    "epochs": 3,
    "best_epoch": 2,
}


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


def epoch_row(epoch: int, accuracy: float) -> dict[str, Any]:
    blocks = [
        {"name": name, "loss": None, "accuracy": own}
        for name, own in zip(BLOCKS, (None, accuracy), strict=True)
    ]
    return {
        **{"epoch": epoch, "step": epoch, "seconds": 1.0, "images_per_second": None},
        **{"data_share": 0.5, "learning_rate": 0.1, "train": {"blocks": blocks}, "val": record()},
    }


class FakeNetwork(list):
    """Blocks, the first of which has no loss."""

    names = BLOCKS


class FakeRun:
    """A finished run of two blocks, the first of which has no scores."""

    network = FakeNetwork([SimpleNamespace(objective=None), SimpleNamespace(objective=True)])
    preprocessing = SimpleNamespace(load=lambda image, max_pixels: None)
    max_pixels = 1000

    def __init__(self, folder: Path) -> None:
        self.folder = self.own_folder = folder
        self.classes = ["cat", "dog"]
        self.result = Result.from_json(
            {
                **{"schema": 1, "method": "asge", "data": "pets", "blocks": BLOCKS},
                "val": record(per_block=[None, 0.375]),
                "test": record(per_block=[None, 0.25]),
                "train": FIGURES,
            }
        )
        rows = (epoch_row(*row) for row in ((1, 0.1), (2, 0.875), (3, 0.9)))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.asked: dict[str, Any] = {}

    def evaluate(self, data: str | None = None, **values: Any) -> Evaluation:
        self.asked = {"data": data, **values}
        return Evaluation(
            **{"data": data or "pets", "split": values["split"], "blocks": BLOCKS, **record()},
            confusion=[[2, 0], [1, 1]],
            precision=0.875,
            recall=0.75,
            f1=0.625,
        )

    def predict_iter(self, paths: Iterable[Path], **values: Any) -> list[Prediction]:
        self.asked = values
        blocks = [BlockPrediction("conv1", None, None), BlockPrediction("conv2", "cat", 0.5)]
        return [Prediction(str(path), "dog", 1, 0.75, blocks) for path in paths]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """`goodness.api` replaced by functions that note what they are called with."""
    from goodness import api

    noted = SimpleNamespace(fit=None, resume=None, load=None, run=FakeRun(tmp_path))
    noted.dry_run = None
    noted.planned = DryRun(
        config={"method": "asge", "model": {"name": "vgg8"}},
        blocks=[
            {"name": "conv1", "features": [8, 4, 4], "parameters": 1234, "loss": False},
            {"name": "conv2", "features": [16], "parameters": 99, "loss": True, "grid": 4},
        ],
        parameters=1333,
        train_examples=4000,
        epochs=10,
        seconds_per_epoch=30.0,
        cache_bytes=None,
        image_bytes=1_500_000,
        step_bytes=20_000_000,
    )

    def note(name: str, answer: str) -> None:
        def called(*args: Any, **values: Any) -> Any:
            setattr(noted, name, (args, values))
            return getattr(noted, answer)

        monkeypatch.setattr(api, name, called)

    for name in ("fit", "resume", "load"):
        note(name, "run")
    note("dry_run", "planned")
    return noted


@pytest.fixture
def goodness(capsys: pytest.CaptureFixture[str]):
    """Runs the command line in this process: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out, err

    return run


@pytest.fixture
def refused(goodness):
    """Runs a command line that is bad input, and gives the one line that says so."""

    def run(*arguments: object) -> str:
        code, out, err = goodness(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return run
