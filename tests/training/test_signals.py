from __future__ import annotations

import signal
import threading
from types import SimpleNamespace

import pytest

from goodness import api
from goodness.cli import main
from goodness.training.signals import StopOnSignal, ended_at_once

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_the_loop_and_the_second_ends_at_once(number):
    trainer = SimpleNamespace(interrupted=None)
    with StopOnSignal() as stop:
        stop.on_start(trainer)
        signal.raise_signal(number)
        assert trainer.interrupted == number
        with pytest.raises(SystemExit) as exit_:
            signal.raise_signal(number)
    assert exit_.value.code == 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_without_a_running_loop_a_signal_ends_at_once(number):
    trainer = SimpleNamespace(interrupted=None)
    with StopOnSignal() as stop:
        with pytest.raises(SystemExit):
            signal.raise_signal(number)
        stop.on_start(trainer)
        stop.on_end(trainer, {})
        with pytest.raises(SystemExit):
            signal.raise_signal(number)
    assert trainer.interrupted is None


def test_the_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopOnSignal():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_there_is_a_loop_is_one_line(number, monkeypatch, capsys):
    monkeypatch.setattr(api, "load", lambda *_, **__: signal.raise_signal(number))
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", "run"])
    assert exit_.value.code == 128 + number
    assert capsys.readouterr().err == f"error: stopped by {signal.Signals(number).name}\n"


def test_in_another_thread_nothing_is_handled():
    seen = []

    def work():
        with ended_at_once():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
