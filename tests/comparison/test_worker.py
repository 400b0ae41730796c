"""Workers of a comparison, whose comparison may go."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
from comparing import study_of

from goodness.comparison import worker
from goodness.training.lock import Busy, locked
from goodness.training.signals import ended_at_once


def test_a_worker_saves_and_ends_when_its_comparison_has_gone(monkeypatch):
    done = []
    pipe, end = os.pipe()
    os.close(end)
    monkeypatch.setattr(worker.sys, "stdin", SimpleNamespace(fileno=lambda: pipe))
    monkeypatch.setattr(worker._thread, "interrupt_main", lambda number: done.append(number))
    monkeypatch.setattr(worker.time, "sleep", done.append)
    monkeypatch.setattr(worker.os, "_exit", done.append)
    with ended_at_once():
        worker._end_with_the_comparison()
    os.close(pipe)
    assert done == [signal.SIGTERM, worker.PATIENCE, 143]


def test_one_process_runs_a_comparison(tmp_path):
    study = study_of(tmp_path, "asge-fast")
    with locked(study.path), pytest.raises(Busy, match="in use by"):
        study.run(print)
