from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

import goodness
from goodness.files import write_json


class Crash(Exception):
    pass


def test_json_files_are_replaced_whole(monkeypatch, tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})

    def crash(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(Crash):
            write_json(path, {"a": 2})
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}


def test_two_processes_may_write_the_same_file_at_once(monkeypatch, tmp_path):
    path = tmp_path / "study.json"
    replace = Path.replace

    def meanwhile(fresh, target):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            patch.setattr(os, "getpid", lambda: 1)
            write_json(path, {"a": 2})
        return replace(fresh, target)

    monkeypatch.setattr(Path, "replace", meanwhile)
    write_json(path, {"a": 1})

    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_is_used_from_another_folder(monkeypatch, tmp_path):
    for label, shade in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(10):
            picture = Image.new("L", (8, 8), shade + number)
            picture.save(tmp_path / "photos" / label / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    model = {"name": "small-cnn", "widths": [4, 4], "pools": []}
    given = {"model": model, "plan": "sequential", "augment": {"crop": 0, "flip": False}}
    short = {"epochs": 1, "batch_size": 4, "num_threads": 1, "feature_cache": "x"}
    run = goodness.fit("photos", out="run", method="sff", **given, **short)
    found = run.evaluate()

    monkeypatch.chdir("/")
    again = goodness.load(tmp_path / "run")

    assert again.config.data == found.data == f"{tmp_path}/photos"
    assert again.evaluate().accuracy == found.accuracy
    assert goodness.resume(tmp_path / "run", epochs=2).config.feature_cache == f"{tmp_path}/x"
