"""The search that scripts in benchmarks/ share, without training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import runs
from goodness import resolve
from goodness.comparison.protocol import answering, probes


@pytest.fixture
def peak(monkeypatch):
    """``peak[0]`` is the best value of the last option; above ``peak[1]`` training diverges."""
    at = [0.0, float("inf")]

    def train(words):
        value = float(words[-2].rpartition("=")[2])
        if value > at[1]:
            raise subprocess.CalledProcessError(1, words)
        assert words[-1] == "--set=final_test=false"
        val = {"accuracy": 1 / (1 + abs(value - at[0])), "readout": "last"}
        return {"command": " ".join(words), "val": val, "train": {"seconds": 2.0, "epochs": 1}}

    monkeypatch.setattr(runs, "train", train)
    return at


def test_the_rate_is_searched_until_the_best_lies_inside(peak):
    peak[0] = 0.09
    lr, trials = runs.search(["--method=sff"], 1e-2, ["--epochs=1"])

    assert lr == 0.09
    assert [trial["lr"] for trial in trials] == [0.0033, 0.01, 0.03, 0.09, 0.27]
    assert runs.best_trial(trials) == {
        "lr": 0.09,
        "command": "--method=sff --epochs=1 --lr=0.09 --set=final_test=false",
        **{"val_accuracy": 1.0, "readout": "last", "seconds": 2.0, "epochs": 1},
        **{"best": True, "at_end": False},
    }
    peak[0] = 1e9
    assert runs.best_trial(runs.search([], 1e-2)[1])["at_end"]


def test_a_rate_that_diverges_is_an_end(peak):
    peak[:] = [0.01, 0.02]
    lr, trials = runs.search([], 1e-2)

    assert lr == 0.01
    assert trials[-1] == {"lr": 0.03, "val_accuracy": None}
    peak[1] = 0.0
    with pytest.raises(SystemExit, match="finite losses"):
        runs.search([], 1e-2)


def test_other_options_are_searched_alike(peak):
    peak[0] = 0.2
    for option, key in (
        ("--weight-decay=", "weight_decay"),
        ("--set=label_smoothing=", "label_smoothing"),
        ("--model-arg=drop_rate=", "drop_rate"),
    ):
        value, trials = runs.best_of(option, (0.0, 0.1, 0.2, 0.3), 0, [])
        assert value == 0.2
        assert [trial[key] for trial in trials] == [0.0, 0.1, 0.2, 0.3]


def test_readouts_are_left_out_by_options():
    config = resolve({"method": "predsim"})

    assert runs.left_out(answering(config, "sum")) == ["--set=readouts.output=null"]
    assert runs.left_out(answering(config, "output")) == ["--readout=output"]
    assert runs.left_out(probes(resolve({"method": "backprop"}), {})) == [
        "--set=readouts.probe=null"
    ]
