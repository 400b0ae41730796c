from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta
from importlib.metadata import version

import pytest
import torch

from goodness.reports.environment import environment


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def git(*arguments):
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    done = subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_fields():
    facts = environment("goodness train", torch.device("cpu"))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["goodness"] == version("goodness")
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert facts["device"] == "cpu"
    assert facts["command"] == "goodness train"
    assert facts["processor"]
    assert facts["cpu_count"] >= 1
    date = datetime.fromisoformat(facts["date"])
    assert date.utcoffset() == timedelta(0)


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    git("init", "-q")
    assert environment(None)["git"] is None  # no commit yet
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert environment(None)["git"] == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "new").touch()
    assert environment(None)["git"]["dirty"] is True


def test_outside_a_repository_there_is_no_commit():
    assert environment(None)["git"] is None


def test_without_the_git_program_there_is_no_commit(tmp_path, monkeypatch):
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment(None)["git"] is None
