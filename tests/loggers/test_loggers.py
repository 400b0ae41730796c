"""Where a run's numbers go: csv and TensorBoard for real, services as stand-ins."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import goodness
from goodness import api
from goodness.loggers import LOGGERS
from goodness.loggers.base import flat, scalars, summary
from goodness.notes import Note
from goodness.reports.curves import Curves
from goodness.results import Result, SplitResult, TrainFigures
from helpers import TINY, At, fake_trainer, finish, interrupt, row_of_epoch

SPLIT = SplitResult(0.75, None, [None, 0.7], "sum", {"last": 0.5, "sum": 0.75}, 100, 1.0)
TRAIN = TrainFigures(12.0, None, 0.1, 2**20, 99, None, None, 2, 2)
RESULT = Result(1, "asge", "digits", ["conv1", "conv2"], SPLIT, None, TRAIN)


class Wandb:
    """As much of wandb as is called; runs with the same id are one."""

    class Error(Exception):
        pass

    def __init__(self):
        self.calls, self.runs, self.fails = [], {}, False

    def init(self, **given):
        if self.fails:
            raise self.Error("no key\nand more")
        self.calls.append(given)
        run = SimpleNamespace(rows=[], summary={}, metrics={}, ended=None)
        self.run = run = self.runs.setdefault(given["id"], run)
        run.define_metric = lambda name, step_metric: run.metrics.update({name: step_metric})
        run.log = self.log
        run.finish = lambda exit_code: setattr(run, "ended", exit_code)
        return run

    def log(self, row):
        if self.fails:
            raise self.Error("gone\nfor good")
        self.run.rows.append(row)


class MlFlow:
    """As much of MLflow as is called."""

    def __init__(self, active=None):
        self.exceptions = SimpleNamespace(MlflowException=type("MlflowException", (Exception,), {}))
        self.calls, self.points, self.params, self.files = [], [], {}, {}
        self.active, self.ended = active, None

    def active_run(self):
        return self.active

    def start_run(self, run_id=None, run_name=None, nested=False):
        assert nested == (self.active is not None)
        self.calls.append((run_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="run-7"))

    def log_params(self, params):
        assert not self.params.keys() & params.keys()  # they never change
        self.params.update(params)

    def log_dict(self, content, name):
        self.files[name] = json.loads(json.dumps(content))

    def log_metrics(self, values, step=None):
        self.points += [(name, value, step) for name, value in values.items()]

    def end_run(self, status):
        self.ended = status


@pytest.fixture
def trainer(tmp_path):
    return fake_trainer(tmp_path)


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    stand_in = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    return stand_in


@pytest.fixture
def mlflow(monkeypatch):
    stand_in = MlFlow()
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    return stand_in


def follow(trainer, name, epochs=2, end=True):
    """A log of so many more epochs."""
    logger = LOGGERS[name]()
    logger.on_start(trainer)
    for _ in range(epochs):
        finish(trainer, logger)
    if end:
        logger.on_end(trainer, RESULT)
    logger.on_close(trainer)


def table(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def events(folder):
    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    points = {
        name: [(event.step, round(event.value, 6)) for event in read.Scalars(name)]
        for name in read.Tags()["scalars"]
    }
    return points, read


def test_numbers_have_the_names_of_blocks_and_nothing_that_is_not_known():
    values = scalars(row_of_epoch(1))

    assert values == {
        "learning_rate": 0.01,
        "seconds": 1.0,
        "val/accuracy": 0.75,
        "train/conv2/loss": 2.0,
        "train/conv2/accuracy": 0.8,
        "val/conv2/accuracy": 0.8,
        "train/conv3/loss": 3.0,
        "train/conv3/accuracy": 0.7,
        "val/conv3/accuracy": 0.7,
        "val/readout/last": 0.5,
        "val/readout/sum": 0.75,
    }
    more = scalars(replace(row_of_epoch(2), joules=3.0))
    assert (more["images_per_second"], more["joules"]) == (1234.5, 3.0)
    found = summary(RESULT)
    assert found["result/val/accuracy"] == 0.75
    assert found["result/val/readouts/last"] == 0.5
    assert found["result/train/best_epoch"] == 2
    assert not {name for name in found if "test" in name or "per_block" in name}
    assert dict(flat({"a": {"b": 1, "c": {}}, "d": [2]}, ".")) == {"a.b": 1, "a.c": {}, "d": [2]}


def test_tensorboard_has_every_number_of_an_epoch_and_both_texts(trainer, tmp_path):
    follow(trainer, "tensorboard")

    points, read = events(tmp_path)
    for epoch in (1, 2):
        for name, value in scalars(row_of_epoch(epoch)).items():
            assert (epoch, round(value, 6)) in points[name]
    assert points["images_per_second"] == [(2, 1234.5)]
    assert not any("conv1" in name for name in points)
    texts = {
        name: read.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0].decode()
        for name in ("config", "result")
    }
    assert '"method": "asge"' in texts["config"]
    assert '"accuracy": 0.75' in texts["result"]


@pytest.mark.parametrize("saved", [1, 2])
def test_tensorboard_of_a_resumed_run_has_every_epoch_once(trainer, tmp_path, saved):
    """Also where the log has an epoch that was not saved, or lacks one that was."""
    follow(trainer, "tensorboard", end=False)
    del trainer.history[saved:]
    trainer.history[0] = row_of_epoch(1)
    follow(trainer, "tensorboard", 3 - saved)
    lost = fake_trainer(tmp_path / "lost")
    follow(lost, "tensorboard", 1, end=False)
    lost.history.append(row_of_epoch(2))
    follow(lost, "tensorboard", 1)

    for folder in (tmp_path, tmp_path / "lost"):
        assert [step for step, _ in events(folder)[0]["val/accuracy"]] == [1, 2, 3]


def test_csv_is_a_table_whose_columns_grow(trainer, tmp_path):
    logger = LOGGERS["csv"]()
    logger.on_start(trainer)
    finish(trainer, logger)
    assert "images_per_second" not in table(tmp_path)[0]
    finish(trainer, logger)

    first, second = table(tmp_path)
    assert (first["epoch"], second["epoch"]) == ("1", "2")
    assert (first["images_per_second"], second["images_per_second"]) == ("", "1234.5")
    assert float(second["train/conv3/loss"]) == 1.5


def test_csv_of_a_resumed_run_is_that_of_its_history(trainer, tmp_path):
    follow(trainer, "csv", 3, end=False)
    del trainer.history[1:]
    trainer.history.append(row_of_epoch(2))  # saved, but the process died before it was logged
    logger = LOGGERS["csv"]()
    logger.on_start(trainer)

    assert [row["epoch"] for row in table(tmp_path)] == ["1", "2"]


def test_wandb_has_the_configuration_the_epochs_and_the_result(trainer, wandb, tmp_path):
    follow(trainer, "wandb")

    (given,) = wandb.calls
    assert given["project"] == "goodness"
    assert given["name"] == tmp_path.name
    assert given["dir"] == str(tmp_path)
    assert given["config"]["optimizer"]["name"]
    (run,) = wandb.runs.values()
    assert run.metrics == {"*": "epoch"}
    assert run.rows == [{"epoch": e, **scalars(row_of_epoch(e))} for e in (1, 2)]
    assert run.summary == summary(RESULT)
    assert run.ended == 0


def test_wandb_goes_on_with_the_same_run(trainer, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    follow(trainer, "wandb", 1, end=False)
    assert wandb.run.ended == 1
    follow(trainer, "wandb", 1)

    one, other = wandb.calls
    assert one["id"] == other["id"]
    assert one["resume"] == other["resume"] == "allow"
    assert one["project"] == "mine"
    assert [row["epoch"] for row in wandb.run.rows] == [1, 1, 2]
    assert wandb.run.ended == 0


def test_another_run_is_another_run(wandb, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        follow(fake_trainer(tmp_path / name), "wandb", 1)
    assert len(wandb.runs) == 2


def test_mlflow_has_the_configuration_the_epochs_and_the_result(trainer, mlflow, tmp_path):
    follow(trainer, "mlflow")

    assert mlflow.calls == [(None, tmp_path.name)]
    assert mlflow.params["method"] == "asge"
    assert mlflow.params["augment.crop"] == 1
    assert mlflow.files["config.json"]["augment"]["crop"] == 1
    assert mlflow.files["result.json"] == RESULT.to_json()
    for epoch in (1, 2):
        for name, value in scalars(row_of_epoch(epoch)).items():
            assert (name, value, epoch) in mlflow.points
    assert ("result/val/accuracy", 0.75, None) in mlflow.points
    assert mlflow.ended == "FINISHED"


def test_mlflow_goes_on_with_the_same_run_and_can_be_a_child(trainer, mlflow):
    follow(trainer, "mlflow", 1, end=False)
    assert mlflow.ended == "KILLED"
    mlflow.active = object()
    follow(trainer, "mlflow", 1)

    assert mlflow.calls[1] == ("run-7", None)
    assert mlflow.ended == "FINISHED"


def test_a_service_that_fails_later_does_not_end_a_run(trainer, wandb):
    logger = LOGGERS["wandb"]()
    logger.on_start(trainer)
    wandb.fails = True
    with pytest.warns(UserWarning, match=r"log: wandb: gone; the run goes on$"):
        finish(trainer, logger)
    with pytest.raises(goodness.InputError, match=r"log: wandb cannot begin: no key$"):
        LOGGERS["wandb"]().on_start(trainer)
    wandb.log = None  # a mistake of ours is no failure of the service
    wandb.run.log = None
    with pytest.raises(TypeError):
        finish(trainer, logger)


@pytest.mark.parametrize("name", ["csv", "tensorboard", "wandb", "mlflow"])
def test_without_a_run_folder_nothing_is_written(trainer, wandb, mlflow, tmp_path, name):
    trainer.run = None
    follow(trainer, name)
    assert list(tmp_path.iterdir()) == []
    assert not wandb.calls
    assert not mlflow.calls


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_package_that_is_missing_is_told_of_before_anything_is_made(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(goodness.InputError, match=rf"pip install 'goodness\[{name}\]'"):
        goodness.fit(out=tmp_path / "run", log=["csv", name], data="no such data")
    assert not (tmp_path / "run").exists()


def test_unknown_loggers_are_refused_and_one_may_stand_alone():
    with pytest.raises(goodness.InputError, match="unknown logger 'cvs'; did you mean 'csv'"):
        goodness.resolve({"log": ["tensorboard", "cvs"]})
    assert goodness.resolve({"log": "csv"}).log == ["csv"]
    assert goodness.resolve({"log": []}).log == []
    assert goodness.resolve({}).log == []


def test_a_run_that_is_stopped_and_resumed_has_one_log(tmp_path, wandb, monkeypatch):
    monkeypatch.setattr(api, "_with_reports", list)  # no pictures, for speed
    values = {"method": "asge-fast", "model": TINY, "epochs": 3, "batch_size": 256}
    with pytest.raises(goodness.Interrupted):
        goodness.fit(
            out=tmp_path / "run",
            log=["csv", "wandb", "csv"],
            callbacks=[At(interrupt, epoch=2)],
            **values,
        )
    goodness.resume(tmp_path / "run", log=["csv", "wandb", "tensorboard"])

    assert [row["epoch"] for row in table(tmp_path / "run")] == ["1", "2", "3"]
    (run,) = wandb.runs.values()
    assert [row["epoch"] for row in run.rows] == [1, 2, 2, 3]
    assert run.summary["result/test/accuracy"] > 0
    assert [step for step, _ in events(tmp_path / "run")[0]["val/accuracy"]] == [2, 3]
    assert not os.path.exists(tmp_path / "run" / "mlruns")


@pytest.mark.parametrize(("name", "file"), [("tensorboard", "tensorboard"), ("csv", "metrics.csv")])
def test_a_file_that_cannot_be_written_is_told_once(tmp_path, name, file):
    blocking = tmp_path / file
    blocking.mkdir() if name == "csv" else blocking.touch()
    trainer, logger, hook = fake_trainer(tmp_path), LOGGERS[name](), threading.excepthook

    def follow():
        logger.on_start(trainer)
        finish(trainer, logger)
        finish(trainer, logger)
        logger.on_close(trainer)

    with pytest.warns(Note, match=rf"log: {name}: .*{file}.*; the run goes on") as told:
        follow()
    assert len(told) == 1
    assert threading.excepthook is hook


def test_a_picture_that_cannot_be_drawn_is_told_once(tmp_path):
    (tmp_path / "curves.png").mkdir()
    trainer, curves = fake_trainer(tmp_path), Curves()

    def follow():
        finish(trainer, curves)
        curves.on_end(trainer, None)

    with pytest.warns(Note, match=r"curves\.png' cannot be written: .*; the run goes on") as told:
        follow()
    assert len(told) == 1
