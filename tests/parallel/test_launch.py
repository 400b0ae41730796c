"""What a process of torchrun's says and heeds on the command line, by its rank."""

from __future__ import annotations

import signal

import pytest

from goodness.cli import main
from goodness.cli.train import _watching
from goodness.errors import EndedElsewhere, RunError
from goodness.parallel.launch import Launch, launched
from goodness.reports.progress import PlainProgress
from goodness.training.signals import StopOnSignal


@pytest.fixture
def place(monkeypatch):
    """``place(rank)``: become one of two processes."""

    def place(rank):
        for key, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2}.items():
            monkeypatch.setenv(key, str(value))

    for key in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(key, raising=False)
    return place


def test_the_place_is_torchrun_s(place, monkeypatch):
    assert launched() is None
    place(1)
    assert launched() == Launch(rank=1, local_rank=1, size=2)
    monkeypatch.delenv("LOCAL_RANK")
    assert launched() is None


def said(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    return caught.value.code, err


def test_the_first_rank_alone_says_what_all_find(place, tmp_path, capsys):
    arguments = ("train", "--data", "digits", "--out", str(tmp_path / "run"))
    place(0)
    code, err = said(capsys, *arguments)
    assert code == 2
    assert err.startswith("error: torchrun has started 2 processes")
    assert err.count("\n") == 1
    place(1)
    assert said(capsys, *arguments) == (2, "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_the_rank_that_meets_an_error_first_says_it(place, monkeypatch, capsys, rank):
    from goodness import api

    own, others = RunError("the disk is full"), EndedElsewhere("rank 2: the disk is full")
    own.rank = rank
    place(rank)
    for error, expected in [(own, "error: the disk is full\n"), (others, "")]:

        def failing(*args, error=error, **values):
            raise error

        monkeypatch.setattr(api, "fit", failing)
        assert said(capsys, "train") == (1, expected)


def test_the_other_ranks_leave_signals_and_shows_to_the_first(place):
    before = signal.getsignal(signal.SIGTERM)
    place(0)
    with _watching(quiet=False) as callbacks:
        assert isinstance(callbacks[0], StopOnSignal)
        assert isinstance(callbacks[-1], PlainProgress)
    place(1)
    with _watching(quiet=False) as callbacks:
        assert callbacks == []
        for number in (signal.SIGINT, signal.SIGTERM):
            assert signal.getsignal(number) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) == before
