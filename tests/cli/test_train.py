from __future__ import annotations

import shlex
import signal
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import typer
import yaml

from goodness import api
from goodness.cli import main
from goodness.cli.app import app
from goodness.cli.options import OF_A_STEP
from goodness.config import KEYS
from goodness.errors import InputError, Interrupted, RunError
from goodness.reports.notices import CacheNotice, MemoryNotice, SetupNotice
from goodness.reports.progress import LiveProgress, Loading, PlainProgress
from goodness.training.signals import StopOnSignal

WORDS = """
method=asge readout=last init_from=a.pth freeze_until=layer2.0 data=cifar10 data_root=/data
image_size=32 per_class=50 val_fraction=0.2 epochs=3 batch_size=64 steps_per_epoch=9 seed=0
recipe=cifar10-fast accumulate_steps=2 micro_batch=4 clip_grad_norm=1 ema=0.9 device=cpu
class_weights=balanced num_workers=2 num_threads=1 parallel=layers amp=bf16 feature_cache=there
max_pixels=99
"""
PARTS = """
presentation=label-pixels objective=classifier boundary=rms update=gradient plan=sequential
model=vgg11 optimizer=sgd lr_schedule=constant
"""
SWITCHES = """
pretrained normalize skip_unreadable final_test flip_test channels_last compile recompute
ghost_norm
"""


def pairs(text):
    return [pair.split("=") for pair in text.split()]


def dashed(name):
    return name.replace("_", "-")


OPTIONS = {
    **{f"--{dashed(name)} {word}": {name: yaml.safe_load(word)} for name, word in pairs(WORDS)},
    **{f"--{dashed(name)} {word}": {name: {"name": word}} for name, word in pairs(PARTS)},
    **{f"--{dashed(name)}": {name: True} for name in SWITCHES.split()},
    **{f"--no-{dashed(name)}": {name: False} for name in SWITCHES.split()},
    "--import {file}": {"imports": ["{file}"]},
    "--model timm/resnet18 --model-arg 'channels=[8, 16, 32, 64]'": {
        "model": {"name": "timm/resnet18", "args": {"channels": [8, 16, 32, 64]}}
    },
    "--model-arg widths=[8]": {"model": {"widths": [8]}},
    "--partition 3": {"partition": {"name": "count", "blocks": 3}},
    "--class-names 'cat, dog'": {"class_names": ["cat", "dog"]},
    "--class-names cat": {"class_names": ["cat"]},
    "--optimizer sgd --lr 0.1": {"optimizer": {"name": "sgd", "lr": 0.1}},
    "--lr 1e-3": {"optimizer": {"lr": 0.001}},
    "--weight-decay 0": {"optimizer": {"weight_decay": 0.0}},
    "--lr-factors 1,0.5": {"lr_factors": ["1", "0.5"]},
    "--label-smoothing 0.1": {"label_smoothing": "0.1"},
    "--label-smoothing 0.3,0.1": {"label_smoothing": ["0.3", "0.1"]},
    "--class-weights 1,2": {"class_weights": ["1", "2"]},
    "--early-stopping 7": {"early_stopping": {"patience": "7"}},
    "--log csv,tensorboard": {"log": ["csv", "tensorboard"]},
    "--class-difficulty 0.5": {"class_difficulty": 0.5},
    "--set objective.grid=2": {"objective": {"grid": 2}},
    "--set 'model.widths=[32, 64]'": {"model": {"widths": [32, 64]}},
    "--set model.norm=batch --set model.pool=max": {"model": {"norm": "batch", "pool": "max"}},
    "": {},
}
NOT_COMPARED = {
    *("readouts", "augment", "method", "epochs", "steps_per_epoch", "seed", "final_test"),
    *("early_stopping", "checkpoint"),
}
OF_LOADED = {"skip_unreadable", "max_pixels", "num_threads", "device"}


def values_of(calls):
    """The configuration values that reached `fit`, without what is not configuration."""
    _, values = calls.fit
    return {key: value for key, value in values.items() if key in KEYS}


@pytest.mark.parametrize("words", OPTIONS)
def test_each_option_reaches_fit_under_its_key(goodness, calls, tmp_path, words):
    file = tmp_path / "parts.py"
    file.touch()
    code, _, _ = goodness("train", *shlex.split(words.format(file=file)))
    assert code == 0
    expected = OPTIONS[words]
    assert values_of(calls) == ({"imports": [str(file)]} if "imports" in expected else expected)


def test_every_key_has_an_option_but_those_that_hold_several_parts():
    tried = set(" ".join(OPTIONS).replace("--no-", "--").split())
    assert {key.option for key in KEYS.values() if key.option} <= tried
    several = ["readouts", "augment", "checkpoint"]
    assert [name for name, key in KEYS.items() if not key.option] == several


@pytest.mark.parametrize(
    ("command", "same"),
    [
        ("compare", KEYS.keys() - NOT_COMPARED),
        ("evaluate", {"data", "data_root", "batch_size", *OF_LOADED}),
        ("predict", OF_LOADED),
        ("explain", {"max_pixels", "num_threads", "device"}),
        ("bench", {*OF_A_STEP}),
        ("profile", {"method", *OF_A_STEP}),
        ("partition", {"model", "partition", "imports", "image_size"}),
        ("methods", {"imports"}),
        ("models", {"imports"}),
    ],
)
def test_other_commands_have_the_same_words_for_the_same_things(command, same):
    commands = typer.main.get_command(app).commands
    ours, theirs = ({p.name: p for p in commands[name].params} for name in ("train", command))
    assert {name for name in theirs if name in KEYS} == same
    for name in same - {"model"}:
        one, other = theirs[name], ours[name]
        assert (one.opts, one.secondary_opts) == (other.opts, other.secondary_opts)
        assert one.help.partition(" Default")[0] == KEYS[name].text


def test_out_and_overwrite_reach_fit(goodness, calls):
    goodness("train")
    assert calls.fit[1]["out"] is None
    assert calls.fit[1]["overwrite"] is False
    goodness("train", "--out", "there", "--overwrite")
    assert calls.fit[1]["out"] == Path("there")
    assert calls.fit[1]["overwrite"] is True


def test_named_options_beat_set_which_beats_the_config_file(goodness, calls, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "epochs: 1\nbatch_size: 1\nseed: 1\nlr: 0.1\nmodel: vgg8\noptimizer: {name: sgd}\n"
    )
    goodness(
        *("train", "--config", config, "--set", "epochs=2", "--set", "batch_size=2"),
        *("--set", "optimizer.lr=0.2", "--set", "model.norm=batch", "--epochs", "3"),
    )
    assert values_of(calls) == {
        "epochs": 3,
        "batch_size": 2,
        "seed": 1,
        "model": {"name": "vgg8", "norm": "batch"},
        "optimizer": {"name": "sgd", "lr": 0.2},
    }
    goodness("train", "--config", config, "--set", "optimizer.lr=0.2", "--lr", "0.3")
    assert values_of(calls)["optimizer"] == {"name": "sgd", "lr": 0.3}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", "not valid YAML in line 1"),
        ("- epochs\n- 3\n", "'key: value'"),
        ("just text", "'key: value'"),
        ("1: 2", "'key: value'"),
        ("epoch: 3", "did you mean 'epochs'?"),
        ("out: somewhere", "unknown configuration key 'out'"),
    ],
)
def test_a_bad_config_file_is_one_clear_line(refused, calls, tmp_path, text, says):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert says in refused("train", "--config", config)
    assert calls.fit is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "nowhere.yaml"], "cannot read the config file nowhere.yaml"),
        (["--set", "epochs"], "--set needs key=value, got 'epochs'"),
        (["--set", "model..norm=none"], "--set needs key=value"),
        (["--set", "model.widths=[1"], "--set model.widths is not valid YAML"),
        (["--set", "data=!!timestamp x"], "--set data is not valid YAML in line 1: could not"),
        (["--set", "epochs=!!int x"], "--set epochs is not valid YAML: invalid literal"),
        (
            ["--set", "skip_unreadable=!!bool x"],
            "--set skip_unreadable is not valid YAML: it cannot be read",
        ),
        (["--set", "modle.norm=none"], "did you mean 'model'?"),
        (["--epochs", "0"], "epochs: Input should be greater than or equal to 1 (got 0)"),
        (["--amp", "fp8"], "amp: Input should be 'none', 'bf16' or 'fp16' (got 'fp8')"),
        (["--import", "no/such.py"], "such.py' cannot be imported: "),
    ],
)
def test_bad_values_are_one_clear_line(refused, calls, arguments, says):
    assert says in refused("train", *arguments)


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [("--epoch", "--epochs"), ("--dataroot", "--data-root"), ("--batchsize", "--batch-size")],
)
def test_a_mistyped_option_names_the_nearest(goodness, calls, mistyped, meant):
    code, out, err = goodness("train", mistyped, "3")
    assert (code, out) == (2, "")
    assert meant in err.replace(mistyped + " ", "")


def test_a_mistyped_command_names_the_nearest(goodness):
    code, _, err = goodness("trian")
    assert code == 2
    assert "'train'" in err


def test_a_value_of_a_wrong_type_exits_with_2(goodness, calls):
    assert goodness("train", "--epochs", "many")[0] == 2
    assert calls.fit is None


def test_resume_passes_epochs_and_device(goodness, calls, tmp_path):
    code, out, _ = goodness("train", "--resume", tmp_path, "--epochs", "9", "--device", "cpu")
    assert (code, out) == (0, f"{tmp_path}\n")
    (folder,), values = calls.resume
    assert folder == tmp_path
    assert (values["epochs"], values["device"]) == (9, "cpu")
    goodness("train", "--resume", tmp_path, "--parallel", "data")
    assert calls.resume[1]["parallel"] == "data"
    goodness("train", "--resume", tmp_path, "--num-workers", "0", "--num-threads", "1")
    assert (calls.resume[1]["num_workers"], calls.resume[1]["num_threads"]) == (0, 1)
    goodness("train", "--resume", tmp_path)
    assert calls.resume[1].keys() == {"callbacks", "changed_data"}


@pytest.mark.parametrize(
    "option",
    [
        *(["--method", "asge"], ["--model", "vgg8"], ["--data", "digits"], ["--data-root", "x"]),
        *(["--batch-size", "8"], ["--lr", "1"], ["--weight-decay", "0"], ["--readout", "auto"]),
        *(["--image-size", "8"], ["--val-fraction", "0.1"], ["--seed", "0"], ["--no-normalize"]),
        *(["--compile"], ["--out", "x"], ["--overwrite"], ["--skip-unreadable"], ["--dry-run"]),
        *(["--set", "epochs=3"], ["--config", "x.yaml"]),
    ],
    ids=lambda option: option[0],
)
def test_resume_refuses_every_other_option_by_name(refused, calls, tmp_path, option):
    said = refused("train", "--resume", tmp_path, *option)
    assert f"; {option[0].replace('--no-', '--')} cannot be given" in said
    assert calls.resume is None


def test_the_result_is_a_table_and_the_folder_alone_on_stdout(goodness, calls):
    _, out, err = goodness("train")
    assert out == f"{calls.run.folder}\n"
    lines = [line.split() for line in err.splitlines() if line.strip()]
    assert lines == [
        ["block", "train", "val", "test"],
        ["conv1", "–", "–", "–"],
        ["conv2", "87.50%", "37.50%", "25.00%"],  # training accuracy of the best epoch
        ["readout", "val", "test"],
        ["last", "50.00%", "50.00%"],
        ["sum", "75.00%", "75.00%", "chosen", "on", "val"],
        ["the", "best", "of", "3", "epochs", "on", "val:", "2"],
        ["next:", "goodness", "report", str(calls.run.folder)],
        ["next:", "goodness", "predict", str(calls.run.folder), "IMAGE"],
        ["next:", "goodness", "calibrate", str(calls.run.folder)],
    ]


def test_a_dry_run_shows_the_plan_and_trains_nothing(goodness, calls, tmp_path):
    before = sorted(tmp_path.iterdir())
    code, out, err = goodness("train", "--dry-run", "--model", "vgg8", "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert calls.dry_run == ((), {"model": {"name": "vgg8"}})
    assert calls.fit is None
    assert sorted(tmp_path.iterdir()) == before
    assert "model:\n  name: vgg8\n" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["conv1", "8×4×4", "1,234", "no", "–"] in lines
    assert ["conv2", "16", "99", "yes", "4"] in lines
    assert "memory: 1.5 MB of images, about 20.0 MB for a step" in out
    assert "about 30.0 s per epoch, 5 min 0 s for 10 epochs" in out


def test_a_dry_run_tells_the_size_of_cached_features(goodness, calls):
    goodness("train", "--dry-run", "--feature-cache", "somewhere")
    assert calls.dry_run[1]["feature_cache"] == "somewhere"
    config = {"feature_cache": "somewhere"}
    calls.planned = replace(calls.planned, cache_bytes=2_500_000, config=config)
    _, out, _ = goodness("train", "--dry-run", "--feature-cache", "somewhere")
    assert "features on disk: up to 2.5 MB in 'somewhere'" in out


def test_the_display_suits_the_terminal(goodness, calls, monkeypatch):
    def kinds():
        return [type(callback) for callback in calls.fit[1]["callbacks"]]

    notices = [Loading, SetupNotice, MemoryNotice, CacheNotice]
    goodness("train")
    assert kinds() == [StopOnSignal, *notices, PlainProgress]
    goodness("train", "--quiet")
    assert kinds() == [StopOnSignal]
    monkeypatch.setenv("FORCE_COLOR", "1")
    goodness("train")
    assert kinds() == [StopOnSignal, *notices, LiveProgress]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no such thing"), 2),
        (RunError("loss is not finite"), 1),
        (OSError(28, "No space left on device", "/full/file"), 1),
        (Interrupted("stopped; go on with --resume", signal.SIGINT), 130),
        (Interrupted("stopped; go on with --resume", signal.SIGTERM), 143),
    ],
)
def test_errors_are_one_line_and_an_exit_code(goodness, monkeypatch, error, code):
    def fit(**_):
        raise error

    monkeypatch.setattr(api, "fit", fit)
    assert goodness("train") == (code, "", f"error: {error}\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nSee the manual."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("Storage size calculation overflowed with sizes=[9999999999, 9999999999]"),
    ],
    ids=str,
)
def test_running_out_of_memory_says_what_helps(goodness, monkeypatch, error):
    monkeypatch.setattr(api, "fit", Mock(side_effect=error))
    code, out, err = goodness("train")
    assert (code, out) == (1, "")
    assert err.startswith("error: out of memory (a smaller --batch-size")
    assert err.count("\n") == 1


def test_other_errors_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(api, "fit", Mock(side_effect=RuntimeError("a mistake of ours")))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["train"])
