"""One process per folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from goodness.config import resolve
from goodness.errors import InputError
from goodness.notes import Note
from goodness.training import lock
from goodness.training.lock import Busy, check_free, locked
from goodness.training.replacing import REPLACED
from goodness.training.run_folder import RunFolder

HOLDER = (
    "import sys, time\nfrom pathlib import Path\nfrom goodness.training.lock import locked\n"
    "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
)


def test_the_lock_of_a_killed_process_is_free_and_its_owner_was_told(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        says = f"'{tmp_path}' is in use by process {holder.pid} on {socket.gethostname()}: "
        with pytest.raises(Busy, match=says), locked(tmp_path):
            pass
        with pytest.raises(Busy, match=says):
            check_free(tmp_path)
        holder.send_signal(signal.SIGKILL)
    assert json.loads((tmp_path / ".owner.json").read_text())["pid"] == holder.pid  # left behind
    with locked(tmp_path), pytest.raises(Busy, match=f"this very process, {os.getpid()}"):
        check_free(tmp_path)
    check_free(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_folder_that_nobody_locked_is_free_and_left_alone(tmp_path):
    check_free(tmp_path)
    check_free(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": null}'])
def test_an_owner_that_cannot_be_read_is_another_process(tmp_path, content):
    with locked(tmp_path):
        (tmp_path / ".owner.json").write_text(content)
        with pytest.raises(Busy, match="in use by another process"):
            check_free(tmp_path)


def test_where_there_are_no_locks_a_note_says_so(tmp_path, monkeypatch):
    def without(*_, **__):
        raise OSError("no locks available")

    monkeypatch.setattr(lock.FileLock, "acquire", without)
    with pytest.warns(Note, match="cannot be locked"), locked(tmp_path):
        pass
    monkeypatch.setattr(lock.os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match="nothing can be written"), locked(tmp_path):
        pass


def test_where_nothing_can_be_locked_a_reader_changes_nothing(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_config(resolve({"seed": 1}))
    (run.path / REPLACED).mkdir()
    (run.path / "best").mkdir()
    (run.path / "best" / "state.json").touch()  # so that the old run would be deleted

    def refuse(*_, **__):
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(lock.FileLock, "acquire", refuse)
    with pytest.warns(Note, match="cannot be locked"):
        RunFolder.open(run.path)
    assert (run.path / REPLACED).is_dir()
    monkeypatch.undo()
    RunFolder.open(run.path)
    assert not (run.path / REPLACED).exists()
