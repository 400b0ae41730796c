"""What the attacks share: one input at a time is tried, and judged by what comes of it."""

from __future__ import annotations

import itertools
import resource
import signal
import socket
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from goodness.errors import GoodnessError
from goodness.notes import Note

SLOW = 20
"""Seconds after which an input hangs."""
MUCH = 2**30
"""Bytes by which no single input may raise the largest resident set of the process."""
MANY = 10**9
"""As good as without end."""
LOCAL = ("127.0.0.1", "::1", "localhost")


class Hang(BaseException):
    """An input took too long; no ``except Exception`` catches it."""


def rounds(seconds: float, enough: Callable[[], bool] = lambda: False) -> Iterator[int]:
    """Numbers from 0, until so much time has passed or it is enough; one at least."""
    end = time.monotonic() + seconds
    for number in itertools.count():
        yield number
        if enough() or time.monotonic() > end:
            return


def try_one(action: Callable[[], object], found: Counter[str], title: str) -> None:
    """Count what an input comes to; only an answer or a `GoodnessError` of one line is good.

    Args:
        action: hands the input over.
        found: the figures; what is bad is also printed to standard error.
        title: what to call the input.
    """
    before, started = _peak(), time.monotonic()
    bad = ""
    try:
        with time_limit(), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            action()
    except GoodnessError as error:
        found["refused"] += 1
        bad = "several_lines" if "\n" in str(error) else ""
    except MemoryError:  # the command line says it in one line
        found["no_memory"] += 1
    except Hang:
        bad = "hangs"
    except Exception:
        bad, title = "tracebacks", f"{title}\n{traceback.format_exc(limit=-5)}"
    else:
        found["taken"] += 1
        if other := [w for w in warned if not issubclass(w.category, Note)]:
            bad, title = "warnings", f"{title}: {other[0].message}"
    if _peak() - before > MUCH:
        found["too_much_memory"] += 1
        print(f"{title}: {(_peak() - before) / 2**30:.1f} GiB", file=sys.stderr)
    found["tried"] += 1
    found["slowest_ms"] = max(found["slowest_ms"], int(1000 * (time.monotonic() - started)))
    if bad:
        found[bad] += 1
        print(f"{bad}: {title}", file=sys.stderr)


@contextmanager
def time_limit(seconds: int = SLOW) -> Iterator[None]:
    """Raise `Hang` after so many seconds; in the main thread."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def no_network() -> Iterator[None]:
    """Let connections to other machines fail, as they do without a network."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: tuple[str, int]) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise OSError(f"attacks do not use the network (asked for {address[0]})")
        connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign]
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]


def _peak() -> int:
    """The largest resident set so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
