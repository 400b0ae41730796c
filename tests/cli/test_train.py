from __future__ import annotations

import signal
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from goodness import api
from goodness.cli import main
from goodness.training.signals import StopOnSignal
from goodness.errors import InputError, Interrupted, RunError
from goodness.reports.progress import CacheNotice, LiveProgress, PlainProgress


def values_of(calls):
    """The configuration values that reached `fit`, without what is not configuration."""
    _, values = calls.fit
    other = ("out", "overwrite", "callbacks", "command")
    return {key: value for key, value in values.items() if key not in other}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--method", "asge"], {"method": "asge"}),
        (["--model", "vgg11"], {"model": "vgg11"}),
        (["--data", "cifar10"], {"data": "cifar10"}),
        (["--data-root", "/data"], {"data_root": "/data"}),
        (["--epochs", "3"], {"epochs": 3}),
        (["--batch-size", "64"], {"batch_size": 64}),
        (["--lr", "1e-3"], {"optimizer": {"lr": 0.001}}),
        (["--weight-decay", "0"], {"optimizer": {"weight_decay": 0.0}}),
        (["--readout", "last"], {"readout": "last"}),
        (["--image-size", "32"], {"image_size": 32}),
        (["--val-fraction", "0.2"], {"val_fraction": 0.2}),
        (["--seed", "0"], {"seed": 0}),
        (["--device", "cpu"], {"device": "cpu"}),
        (["--num-workers", "2"], {"num_workers": 2}),
        (["--num-threads", "1"], {"num_threads": 1}),
        (["--amp", "bf16"], {"amp": "bf16"}),
        (["--compile"], {"compile": True}),
        (["--parallel", "layers"], {"parallel": "layers"}),
        (["--partition", "3"], {"partition": {"name": "count", "blocks": 3}}),
        (["--per-class", "50"], {"per_class": 50}),
        (["--classes", "cat, dog"], {"classes": ["cat", "dog"]}),
        (["--freeze-until", "layer2.0"], {"freeze_until": "layer2.0"}),
        (["--pretrained"], {"pretrained": True}),
        (["--init-from", "a.pth"], {"init_from": "a.pth"}),
        (
            ["--model", "timm/resnet18", "--model-arg", "channels=[8, 16, 32, 64]"],
            {"model": {"name": "timm/resnet18", "args": {"channels": [8, 16, 32, 64]}}},
        ),
        (["--model-arg", "widths=[8]"], {"model": {"widths": [8]}}),
        (["--skip-unreadable"], {"skip_unreadable": True}),
        (["--set", "objective.alpha=2"], {"objective": {"alpha": 2}}),
        (["--set", "model.widths=[32, 64]"], {"model": {"widths": [32, 64]}}),
        (
            ["--set", "model.norm=batch", "--set", "model.pool=max"],
            {"model": {"norm": "batch", "pool": "max"}},
        ),
    ],
)
def test_each_option_reaches_fit_under_its_key(goodness, calls, arguments, expected):
    code, _, _ = goodness("train", *arguments)
    assert code == 0
    assert values_of(calls) == expected


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
def test_a_bad_config_file_is_one_clear_line(goodness, calls, tmp_path, text, says):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    code, out, err = goodness("train", "--config", config)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err
    assert calls.fit is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "nowhere.yaml"], "cannot read the config file nowhere.yaml"),
        (["--set", "epochs"], "--set needs key.path=value, got 'epochs'"),
        (["--set", "model..norm=none"], "--set needs key.path=value"),
        (["--set", "model.widths=[1"], "--set model.widths is not valid YAML"),
        (["--set", "data=2026-13-45"], "--set data is not valid YAML: month must be in 1..12"),
        (["--set", "epochs=!!int x"], "--set epochs is not valid YAML: invalid literal"),
        (["--set", "skip_unreadable=!!bool x"], "--set skip_unreadable is not valid YAML: it cannot be read"),
        (["--set", "modle.norm=none"], "did you mean 'model'?"),
    ],
)
def test_bad_values_are_one_clear_line(goodness, calls, arguments, says):
    code, out, err = goodness("train", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


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
    goodness("train", "--resume", tmp_path)
    assert (calls.resume[1]["epochs"], calls.resume[1]["device"]) == (None, None)


@pytest.mark.parametrize(
    "option",
    [
        *(["--method", "asge"], ["--model", "vgg8"], ["--data", "digits"], ["--data-root", "x"]),
        *(["--batch-size", "8"], ["--lr", "1"], ["--weight-decay", "0"], ["--readout", "auto"]),
        *(["--image-size", "8"], ["--val-fraction", "0.1"], ["--seed", "0"], ["--num-workers", "0"]),
        *(["--num-threads", "1"], ["--compile"], ["--out", "x"], ["--overwrite"], ["--skip-unreadable"]),
        *(["--dry-run"], ["--set", "epochs=3"], ["--config", "x.yaml"]),
    ],
    ids=lambda option: option[0],
)
def test_resume_refuses_every_other_option_by_name(goodness, calls, tmp_path, option):
    code, out, err = goodness("train", "--resume", tmp_path, *option)
    assert (code, out) == (2, "")
    assert f"; {option[0]} cannot be given" in err
    assert calls.resume is None


def test_the_result_is_a_table_and_the_folder_alone_on_stdout(goodness, calls):
    _, out, err = goodness("train")
    assert out == f"{calls.run.folder}\n"
    lines = [line.split() for line in err.splitlines() if line.strip()]
    assert lines == [
        ["block", "train", "val", "test"],
        ["conv1", "–", "–", "–"],
        ["conv2", "87.50%", "37.50%", "25.00%"],  # training accuracy of the best epoch
        ["readout", "test"],
        ["last", "50.00%"],
        ["sum", "75.00%", "chosen"],
    ]


def test_a_dry_run_shows_the_plan_and_trains_nothing(goodness, calls, tmp_path):
    before = sorted(tmp_path.iterdir())
    code, out, err = goodness("train", "--dry-run", "--model", "vgg8", "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    assert calls.plan == ((), {"model": "vgg8"})
    assert calls.fit is None
    assert sorted(tmp_path.iterdir()) == before
    assert "model:\n  name: vgg8\n" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["conv1", "8×4×4", "1,234", "no", "–"] in lines
    assert ["conv2", "16", "99", "yes", "4"] in lines
    assert "about 30.0 s per epoch, 5 min 0 s for 10 epochs" in out


def test_a_dry_run_tells_the_size_of_cached_features(goodness, calls):
    goodness("train", "--dry-run", "--feature-cache", "somewhere")
    assert calls.plan[1]["feature_cache"] == "somewhere"
    calls.plan_answer |= {"cache_bytes": 2_500_000, "config": {"feature_cache": "somewhere"}}
    _, out, _ = goodness("train", "--dry-run", "--feature-cache", "somewhere")
    assert "features on disk: up to 2.5 MB in 'somewhere'" in out


def test_the_display_suits_the_terminal(goodness, calls, monkeypatch):
    def kinds():
        return [type(callback) for callback in calls.fit[1]["callbacks"]]

    goodness("train")
    assert kinds() == [StopOnSignal, CacheNotice, PlainProgress]
    goodness("train", "--quiet")
    assert kinds() == [StopOnSignal]
    monkeypatch.setenv("FORCE_COLOR", "1")
    goodness("train")
    assert kinds() == [StopOnSignal, CacheNotice, LiveProgress]


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
