from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from goodness.methods import METHODS
from goodness.models import MODELS
from goodness.results import RunSummary


def test_evaluate(goodness, calls):
    code, out, err = goodness("evaluate", calls.run.folder, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result == {
        "schema": 1,
        "data": "pets",
        "split": "test",
        "blocks": ["conv1", "conv2"],
        "accuracy": 0.75,
        "top5": None,
        "per_block": [None, 0.5],
        "readout": "sum",
        "readouts": {"last": 0.5, "sum": 0.75},
        "examples": 4,
        "seconds": 0.25,
        "precision": 0.875,
        "recall": 0.75,
        "f1": 0.625,
    }
    with Image.open(calls.run.folder / "confusion-test.png") as picture:
        assert picture.size[0] > 300


def test_evaluate_passes_its_options_on(goodness, calls):
    goodness(
        *("evaluate", calls.run.folder, "--data", "other", "--data-root", "root"),
        *("--split", "val", "--device", "cpu", "--batch-size", "7", "--skip-unreadable", "--json"),
    )
    assert calls.load == ((str(calls.run.folder),), {"device": "cpu"})
    asked = {key: str(value) for key, value in calls.run.asked.items()}
    assert asked == {
        "data": "other",
        "data_root": "root",
        "split": "val",
        "batch_size": "7",
        "skip_unreadable": "True",
    }
    assert (calls.run.folder / "confusion-other-val.png").is_file()


def test_evaluate_for_people(goodness, calls):
    _, out, err = goodness("evaluate", calls.run.folder)
    assert "pets test: accuracy 75.00% (sum readout, 4 images, 0.2 s)" in out
    assert "mean over the classes: precision 87.50%, recall 75.00%, F1 62.50%" in out
    assert ["conv1", "–"] in [line.split() for line in out.splitlines()]
    assert f"confusion matrix: {calls.run.folder / 'confusion-test.png'}" in err


def test_explain_draws_a_picture_of_each_image(goodness, calls, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(
        calls.run, "explain", lambda pixels: SimpleNamespace(answer=1), raising=False
    )
    monkeypatch.setattr(
        "goodness.reports.explanation.draw_explanation",
        lambda *given: drawn.append(given[-1].name),
    )
    images = ("e1/a.png", "e2/a.png", "e1/a-2.png", "e3/a.png")
    code, _, err = goodness("explain", calls.run.folder, *images, "--out", tmp_path / "out")
    assert (code, err.count("dog")) == (0, 4)
    assert drawn == ["a.png", "a-2.png", "a-2-2.png", "a-3.png"]


def test_a_file_s_name_that_is_no_utf_8_is_json_all_the_same(goodness, calls):
    code, out, _ = goodness("predict", calls.run.folder, "caf\udce9.png", "--json")
    assert code == 0
    assert json.loads(out)[0]["file"] == "caf\udce9.png"


def test_an_unknown_split_exits_with_2(goodness, calls):
    assert goodness("evaluate", calls.run.folder, "--split", "all")[0] == 2


def test_predict(goodness, calls):
    code, out, err = goodness(
        "predict", calls.run.folder, "a.png", "b.png", "--json", "--skip-unreadable"
    )
    assert (code, err, calls.run.asked) == (0, "", {"skip_unreadable": True})
    first, second = json.loads(out)
    assert first == {
        "schema": 1,
        "file": "a.png",
        "class": "dog",
        "index": 1,
        "probability": 0.75,
        "blocks": [
            {"name": "conv1", "class": None, "probability": None},
            {"name": "conv2", "class": "cat", "probability": 0.5},
        ],
    }
    assert second["file"] == "b.png"


def test_predict_for_people(goodness, calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a[b].png").touch()
    _, out, err = goodness("predict", calls.run.folder, "a[b].png")
    assert err == ""
    assert ["a[b].png", "dog", "75.00%", "–", "cat"] in [line.split() for line in out.splitlines()]


def test_predict_needs_an_image(goodness, calls):
    assert goodness("predict", calls.run.folder)[0] == 2


@pytest.mark.parametrize(
    ("command", "keys", "names"),
    [
        ("methods", ["name", "title", "paper", "locality", "presentation"], METHODS.names()),
        ("models", ["name", "title"], MODELS.names()),
        ("data", ["name", "title", "classes", "size", "source"], None),
    ],
)
def test_lists(goodness, command, keys, names):
    code, out, err = goodness(command, "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    for row in rows:
        assert list(row) == ["schema", *keys]
        assert row["schema"] == 1
        assert all(row.values())
    listed = [row["name"] for row in rows]
    assert listed == names if names else "digits" in listed

    code, out, err = goodness(command)
    assert (code, err) == (0, "")
    assert all(name in out for name in listed)


def test_version(goodness):
    assert goodness("--version") == (0, f"goodness {version('goodness')}\n", "")


def test_runs(goodness, monkeypatch):
    found = [
        RunSummary(
            "a/one", "finished", "sff", "digits", "vgg8", 3, 3, 0.5, 0.25, "2026-01-02T03:04:05"
        ),
        RunSummary("a/two", "damaged: config.json"),
    ]
    monkeypatch.setattr("goodness.listings.list_runs", lambda folder: found)
    _, out, _ = goodness("runs", "a", "--json")
    assert json.loads(out) == [{"schema": 1, **run.to_json()} for run in found]
    _, out, _ = goodness("runs", "a")
    _, one, two = (" ".join(line.split()) for line in out.splitlines())
    assert one == "a/one sff digits 3/3 finished 50.00% 25.00% 2026-01-02 03:04"
    assert two == "a/two – – – damaged: config.json – – –"
    found.clear()
    assert goodness("runs", "a") == (0, "", "no runs in 'a'\n")
