from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from goodness.training.signals import StopOnSignal

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
