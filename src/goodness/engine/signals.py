"""Ctrl-C and SIGTERM: the first one asks the loop to save and end, the second one ends at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from goodness.engine.callbacks import Callback
from goodness.errors import Interrupted

if TYPE_CHECKING:
    from goodness.engine.loop import Loop

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal(Callback):
    """Hands signals to the loop it is a callback of, while it is entered as a context."""

    def __init__(self) -> None:
        self._loop: Loop | None = None
        self._handling = ExitStack()

    def __enter__(self) -> StopOnSignal:
        self._handling.enter_context(_handled_by(self._handle))
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.close()

    def on_start(self, loop: Loop) -> None:
        """From here on there is a state worth saving."""
        self._loop = loop

    def on_end(self, loop: Loop, result: dict[str, Any]) -> None:
        """All is saved; nothing is left to ask of the loop."""
        self._loop = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._loop is None or self._loop.interrupted is not None:
            # Not an Exception: nothing on the way up may take it for an error to deal with.
            raise SystemExit(128 + number)
        self._loop.interrupted = number


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside it a signal raises `Interrupted`, for work that is kept as it goes."""

    def stop(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        raise Interrupted(f"stopped by {name}; the same command goes on", number)

    with _handled_by(stop):
        yield


def ignored() -> AbstractContextManager[None]:
    """Inside it signals do nothing."""
    return _handled_by(signal.SIG_IGN)


@contextmanager
def _handled_by(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> Iterator[None]:
    """Inside it a function handles both signals; afterwards whatever did before."""
    previous = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
