from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

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
