"""Ctrl-C, SIGTERM, Ctrl-Break: the first asks the loop to save and end, a second ends at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from goodness.errors import Interrupted
from goodness.training.callbacks import Callback

if TYPE_CHECKING:
    from goodness.results import Result
    from goodness.training.trainer import Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM)
if sys.platform == "win32":
    # What a process gets there that shall end; SIGTERM ends it unasked.
    SIGNALS += (signal.SIGBREAK,)


class Ended(SystemExit):
    """A signal ends the process at once, with 128 + its number.

    It is no Exception: nothing on the way up may take it for an error to deal with.
    """

    def __init__(self, number: int, how: str = "") -> None:
        super().__init__(128 + number)
        self.number = number
        self.text = f"stopped by {signal.Signals(number).name}{how}"


class StopOnSignal(Callback):
    """Hands signals to the loop it is a callback of, while it is entered as a context."""

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._handling = ExitStack()

    def __enter__(self) -> StopOnSignal:
        self._handling.enter_context(_handled_by(self._handle))
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.close()

    def on_start(self, trainer: Trainer) -> None:
        """From here on there is a state worth saving."""
        self._trainer = trainer

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """All is saved; nothing is left to ask of the trainer."""
        self._trainer = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._trainer is None:
            raise Ended(number)
        if self._trainer.interrupted is not None:
            raise Ended(number, " again, without saving; the last checkpoint is kept")
        self._trainer.interrupted = number


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside it a signal raises `Interrupted`, for work that is kept as it goes."""

    def stop(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        raise Interrupted(f"stopped by {name}; the same command goes on", number)

    with _handled_by(stop):
        yield


def ended_at_once() -> AbstractContextManager[None]:
    """Inside it a signal raises `Ended`, for what has nothing to save."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    return _handled_by(end)


def ignored() -> AbstractContextManager[None]:
    """Inside it signals do nothing."""
    return _handled_by(signal.SIG_IGN)


def apart() -> dict[str, Any]:
    """For `subprocess.Popen`: a process that Ctrl-C does not reach, but `ask_to_end` does."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def ask_to_end(process: subprocess.Popen[str]) -> None:
    """Ask a process that was started `apart` to save and end."""
    if sys.platform == "win32":
        process.send_signal(signal.CTRL_BREAK_EVENT)
    else:
        process.send_signal(signal.SIGTERM)


@contextmanager
def _handled_by(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> Iterator[None]:
    """Inside it a function handles both signals; afterwards whatever did before.

    Only the main thread can say so; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
