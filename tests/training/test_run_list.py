"""A list of runs, from their files alone."""

from __future__ import annotations

import json
import shutil

import pytest

import goodness
from goodness.training.run_folder import RunFolder
from helpers import TINY

ONE = {"method": "sff", "model": TINY, "epochs": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two runs at different depths, and folders that hold none."""
    root = tmp_path_factory.mktemp("runs")
    run = goodness.fit("digits", out=root / "one", **ONE)
    run.save_pretrained(root / "shared")
    goodness.fit("digits", out=root / "deep" / "two", final_test=False, seed=1, **ONE)
    (root / "other").mkdir()
    (root / "other" / "config.json").write_text('{"name": "of another program"}')
    return root


def test_runs_are_found_at_any_depth_and_nothing_else(root):
    found = {run.path: run for run in goodness.list_runs(root)}
    assert found.keys() == {str(root / "one"), str(root / "deep" / "two")}
    one = found[str(root / "one")]
    assert (one.state, one.method, one.data, one.model) == (
        "finished",
        "sff",
        "digits",
        "small-cnn",
    )
    assert (one.epoch, one.epochs) == (2, 2)
    result = goodness.load(root / "one").result
    assert (one.val, one.test) == (result.val.accuracy, result.test.accuracy)
    assert found[str(root / "deep" / "two")].test is None
    assert one.date == RunFolder(root / "one").read_environment()["date"]


def test_the_newest_is_first(root, tmp_path):
    for name, date in (("a", "2026-01-01"), ("b", "2026-03-01"), ("c", "2026-02-01")):
        shutil.copytree(root / "one", tmp_path / name)
        RunFolder(tmp_path / name).write_environment({"date": date})
    found = goodness.list_runs(tmp_path)
    assert [run.date for run in found] == ["2026-03-01", "2026-02-01", "2026-01-01"]


def test_what_is_training_stopped_or_damaged_is_said(root, tmp_path):
    shutil.copytree(root / "one", tmp_path / "one")
    run = RunFolder(tmp_path / "one")
    with run.alone():
        assert [each.state for each in goodness.list_runs(tmp_path)] == ["training"]
    (run.path / ".owner.json").write_text("{}")  # its process was killed
    run.result_file.unlink()
    run.cut_history(run.history()[0].step)
    shutil.rmtree(run.last)
    (stopped,) = goodness.list_runs(tmp_path)
    assert (stopped.state, stopped.epoch, stopped.test) == ("stopped", 1, None)
    assert stopped.val == run.history()[0].val.accuracy
    config = json.loads(run.config_file.read_text())
    run.config_file.write_text(json.dumps({**config, "epochs": 3}))
    (damaged,) = goodness.list_runs(tmp_path)
    assert damaged.state.startswith("damaged: ")
    assert "config.json" in damaged.state


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(goodness.InputError, match="there is no folder"):
        goodness.list_runs(tmp_path / "none")


@pytest.mark.parametrize("change", [{"model": 7}, {"data": 5}, {"epochs": "x"}, {"method": [1]}])
def test_a_configuration_of_wrong_types_is_damaged(root, tmp_path, change):
    shutil.copytree(root / "one", tmp_path / "one")
    run = RunFolder(tmp_path / "one")
    config = json.loads(run.config_file.read_text())
    del config["checksum"]  # as who has edited it by hand
    run.config_file.write_text(json.dumps({**config, **change}))
    (found,) = goodness.list_runs(tmp_path)
    assert found.state == f"damaged: '{run.config_file}' has values of wrong types"
