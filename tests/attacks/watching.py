"""What the attacks share: one input at a time is tried, and judged by what comes of it."""

from __future__ import annotations

import itertools
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

from goodness.errors import GoodnessError
from goodness.notes import Note

SLOW = 20
"""Seconds of the processor after which an input hangs."""
WAITS = 3 * SLOW
"""Seconds by the clock after which it does, whatever else the machine has to do."""
MUCH = 2**30
"""Bytes by which no single input may raise the largest resident set of the process."""
MANY = 10**9
"""As good as without end."""
LOCAL = ("127.0.0.1", "::1", "localhost")


AT_A_TIME = 8000
"""Inputs of a process."""
STUCK = 2.0 * WAITS
"""Seconds after which a process is killed that no alarm has reached, as it is not in Python."""
STARTS = 300.0
"""Seconds that a process may take before its first input."""
ADDRESSES = 12 * 2**30
"""Bytes of addresses that a process may use; half of it torch takes for itself."""
FAULTS = (
    *("tracebacks", "warnings", "several_lines", "too_much_memory", "executed", "read", "outside"),
)
RUNNING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork")
CHANGES = (
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"),
    *("os.chmod", "shutil.rmtree"),
)


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
    before, started = _peak(), time.process_time()
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
        if other := [w for w in warned if not _is_allowed(w)]:
            bad, title = "warnings", f"{title}: {other[0].message}"
    if _peak() - before > MUCH:
        found["too_much_memory"] += 1
        print(f"{title}: {(_peak() - before) / 2**30:.1f} GiB", file=sys.stderr)
    found["tried"] += 1
    found["slowest_ms"] = max(found["slowest_ms"], int(1000 * (time.process_time() - started)))
    if bad:
        found[bad] += 1
        print(f"{bad}: {title}", file=sys.stderr)


def _is_allowed(warned: warnings.WarningMessage) -> bool:
    """A note, or of Pillow about an image that it reads; the command line does not show these."""
    return issubclass(warned.category, Note) or "PIL" in Path(warned.filename).parts


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise `Hang` where it takes too long; in the main thread."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, SLOW),
        signal.SIGALRM: (signal.ITIMER_REAL, WAITS),
    }
    before = {number: signal.signal(number, ring) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def watched(
    make: Callable[[Path], Tries],
    folder: Path,
    seconds: float,
    enough: int,
    guarded: bool = True,
) -> dict[str, int]:
    """Inputs from number 0 on, in processes that are killed where they hang, and followed.

    Args:
        make: what tries them, with a folder of its own.
        folder: of all of them; whatever is changed elsewhere counts as ``outside``.
        seconds: in all.
        enough: inputs after which it ends.
        guarded: whether a `Guard` counts what is changed, run and asked for elsewhere.

    Returns:
        The figures of all processes.
    """
    faults = ("hangs", "crashes", *(FAULTS if guarded else ()))
    found = Counter(dict.fromkeys(faults, 0))
    end, first = time.monotonic() + seconds, 0
    while first < enough and time.monotonic() < end:
        place = folder / str(first)
        place.mkdir()
        report = Report()
        last = min(enough, first + AT_A_TIME)
        pid = os.fork()
        if not pid:
            _work(make, place, report, range(first, last), end, guarded)
        ended = _follow(pid, report)
        number, figures = report.read()
        slowest = max(found["slowest_ms"], figures.pop("slowest_ms", 0))
        found.update(figures)
        if slowest:
            found["slowest_ms"] = slowest
        print(f"{found['tried']} tried", file=sys.stderr, flush=True)
        if ended:
            found[ended] += 1
            found["tried"] += 1
            print(f"{ended}: number {number}", file=sys.stderr)
        first = number + 1
        shutil.rmtree(place, ignore_errors=True)
    return dict(found)


class Tries(Protocol):
    """What tries an input by its number, and counts what comes of it."""

    found: Counter[str]

    def go(self, number: int) -> None: ...


class Report:
    """What a process does, for the one that watches it: memory that both have."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def write(self, number: int, found: Counter[str]) -> None:
        """The input that is next, and the figures of those before it."""
        text = json.dumps([number, found]).encode()
        self._memory.seek(0)
        self._memory.write(struct.pack("<I", len(text)) + text)

    def read(self) -> tuple[int, dict[str, int]]:
        """What was written last; -1 before that."""
        self._memory.seek(0)
        (size,) = struct.unpack("<I", self._memory.read(4))
        number, found = json.loads(self._memory.read(size) or "[-1, {}]")
        return number, found


def _work(
    make: Callable[[Path], Tries],
    folder: Path,
    report: Report,
    numbers: range,
    end: float,
    guarded: bool,
) -> NoReturn:
    """In a process of its own."""
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        made = make(folder)
        if guarded:
            Guard(folder, made.found, report)
        for number in numbers:
            report.write(number, made.found)
            made.go(number)
            if time.monotonic() > end:
                break
        report.write(number, made.found)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _follow(pid: int, report: Report) -> str:
    """Wait for a process; what is wrong with its end, or nothing."""
    seen, since = -2, time.monotonic()
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return "crashes" if status else ""
        number = report.read()[0]
        if number != seen:
            seen, since = number, time.monotonic()
        elif time.monotonic() - since > (STUCK if number >= 0 else STARTS):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hangs"
        time.sleep(0.05)


class Guard:
    """Counts what this process changes elsewhere, runs or asks of other machines, for good.

    Args:
        folder: where it may write.
        found: the figures.
        report: which input is tried.
    """

    def __init__(self, folder: Path, found: Counter[str], report: Report) -> None:
        self.folder, self.found, self.report = str(folder), found, report
        sys.dont_write_bytecode = True
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if event in RUNNING:
            self._count("executed", event, args)
        elif event == "socket.connect":
            address = args[1]
            if isinstance(address, tuple) and address[0] not in LOCAL:
                self._count("outside", event, args)
                raise OSError("attacks do not use the network")
        elif event == "open" or event in CHANGES:
            flags = args[2] if event == "open" else os.O_WRONLY
            path = args[1] if event == "os.symlink" else args[0]
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            if isinstance(path, str | os.PathLike):
                where = os.path.abspath(os.fspath(path))
                if not where.startswith((self.folder, "/dev/null")):
                    self._count("outside", event, args)

    def _count(self, kind: str, event: str, args: tuple[object, ...]) -> None:
        self.found[kind] += 1
        print(f"{kind}: number {self.report.read()[0]}: {event} {str(args)[:300]}", file=sys.stderr)


def _peak() -> int:
    """The largest resident set so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
