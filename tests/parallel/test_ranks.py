"""Ranks as processes: what they end with, whatever happens to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from goodness.training import checkpoint

HERE = Path(__file__).parent
TIMES = ("seconds", "images_per_second", "data_share", "peak_memory_bytes", "checksum")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The run folders of all scenarios of driver.py."""
    folder = tmp_path_factory.mktemp("parallel")
    done = subprocess.run(
        [sys.executable, HERE / "driver.py", folder],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def ended(folder):
    """How the ranks of every scenario ended."""
    return json.loads((folder / "ended.json").read_text())


def saved(run, which="last"):
    """Every tensor of a checkpoint, by file and name."""
    groups = ("network", "optimizers", "totals") if which == "last" else ("network",)
    meta, tensors = checkpoint.load(run / which, *groups)
    return meta, {
        f"{group}/{name}": value for group in groups for name, value in tensors[group].items()
    }


def timeless(value):
    """A record without what no two runs share."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def result(run):
    return json.loads((run / "result.json").read_text())


def assert_the_same_run(run, whole):
    for which in ("last", "best"):
        (meta, own), (other_meta, other) = saved(run, which), saved(whole, which)
        assert own.keys() == other.keys()
        assert [name for name in own if not torch.equal(own[name], other[name])] == []
        for key in ("step", "best", "blocks"):
            assert meta[key] == other_meta[key]
        assert meta.get("optimizers") == other_meta.get("optimizers")
    assert timeless(rows(run)) == timeless(rows(whole))
    assert timeless(result(run)) == timeless(result(whole))


def test_a_pipeline_stopped_and_resumed_on_other_ranks_ends_as_one_process(folder, ended):
    """On 2 ranks, as one process, on 3 and on 2 again: weights, optimizers, averages, records."""
    assert ended["chain"] == ["done", "done"]
    assert ended["whole"] == ["done"]
    assert_the_same_run(folder / "chain", folder / "whole")
    config = json.loads((folder / "chain" / "config.json").read_text())
    assert config["parallel"] == "layers"


def test_a_signal_to_the_first_rank_stops_all_after_the_same_step(folder, ended):
    said = sorted(text.partition(": ")[0] for text in ended["stopped"])
    assert said == ["EndedElsewhere", "Interrupted"]
    for text in ended["stopped"]:
        assert "stopped by SIGTERM after step 3" in text
        assert f"torchrun --nproc-per-node 2 -m goodness train --resume {folder / 'chain'}" in text


def test_shares_of_a_batch_train_like_the_batch(folder, ended):
    """Within rounding, resumed on other numbers of ranks as well."""
    assert ended["shares"] == ["done", "done"]
    (meta, own), (_, whole) = saved(folder / "shares"), saved(folder / "one")
    assert meta["step"] == 10
    assert own.keys() == whole.keys()
    for name, value in own.items():
        torch.testing.assert_close(value, whole[name], rtol=1e-3, atol=1e-5, msg=name)
    for mine, theirs in zip(rows(folder / "shares"), rows(folder / "one"), strict=True):
        for block, other in zip(mine["train"]["blocks"], theirs["train"]["blocks"], strict=True):
            assert block["loss"] == pytest.approx(other["loss"], rel=1e-4)
            assert block["accuracy"] == pytest.approx(other["accuracy"], abs=0.01)


def test_a_loss_that_is_not_finite_ends_all_ranks_and_one_says_so(folder, ended):
    said = [text for text in ended["nan"] if text.startswith("Diverged: ")]
    assert len(said) == 1
    for text in ended["nan"]:
        assert "is not finite at step 7" in text
        assert f"kept in '{folder / 'nan' / 'last'}'" in text
    meta, tensors = saved(folder / "nan")
    assert meta["step"] == 5
    assert all(torch.isfinite(value).all() for value in tensors.values())


@pytest.mark.parametrize(("name", "lost"), [("killed", 1), ("leaderless", 0), ("share-killed", 1)])
def test_a_lost_rank_ends_the_others_with_its_number_and_the_way_on(folder, ended, name, lost):
    left = [text for rank, text in enumerate(ended[name]) if rank != lost]
    assert ended[name][lost] == -9
    assert sum(text.startswith("RunError: ") for text in left) == 1
    for text in left:
        assert f"lost rank {lost}," in text
        assert f"the last checkpoint in '{folder / name / 'last'}'" in text
        assert f"--resume {folder / name}" in text
        assert "\n" not in text
    assert saved(folder / name)[0]["step"] == 5


def test_bad_input_is_said_once_and_makes_no_folder(folder, ended):
    assert sorted(text.partition(": ")[0] for text in ended["bad-data"]) == [
        "EndedElsewhere",
        "InputError",
    ]
    assert all("did you mean 'digits'?" in text for text in ended["bad-data"])
    assert not (folder / "bad-data").exists()


def test_the_same_ranks_can_train_again(folder, ended):
    assert ended["again"] == ["done", "done"]
    assert_the_same_run(folder / "again", folder / "one")


def test_torchrun_and_parallel_need_each_other(folder, ended):
    for text in ended["unsaid"]:
        assert text.startswith("InputError: torchrun has started 2 processes")
        assert "--parallel layers or --parallel data" in text
    assert ended["alone"][0].startswith("InputError: --parallel layers needs several processes")
    assert "torchrun --nproc-per-node 2 -m goodness train --parallel layers" in ended["alone"][0]
    assert not (folder / "unsaid").exists()
    assert not (folder / "alone").exists()


def test_the_command_line_under_torchrun(folder, tmp_path):
    """Two ranks by the real launcher: one voice, and the run of one process."""
    sys.path.insert(0, str(HERE))
    from driver import DATA

    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**DATA, "num_threads": 1}))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "goodness", "train", "--config", config, "--parallel", "layers"]
    done = subprocess.run(
        [sys.executable, *launcher, *command, "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'run'}\n"
    assert done.stderr.count("epoch 2/2") == 1
    assert done.stderr.count("chosen") == 1
    assert_the_same_run(tmp_path / "run", folder / "one")
