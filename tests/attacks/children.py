"""Commands of goodness in forked processes, so that torch is imported once."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import torch
import torch._dynamo  # as torch's optimizers do; once here, not in every child
from timm.utils import ModelEmaV3  # noqa: F401
from torch.utils.tensorboard import SummaryWriter  # noqa: F401

import goodness
from goodness.cli import main
from goodness.methods import METHODS
from goodness.reports import confusion, curves, environment  # noqa: F401

torch.set_num_threads(1)
# What a command imports and reads is here before the fork, and not in every child again.
goodness.open_data("digits")
for method in METHODS.names():
    goodness.resolve({"method": method})
# A child that collects garbage would touch all that is here, and so copy it: half of its time.
gc.collect()
gc.freeze()

MODEL = "model={name: small-cnn, widths: [4, 8], pools: [1]}"
TRAIN = (
    "train",
    "--method",
    "asge-fast",
    "--set",
    MODEL,
    "--per-class",
    "12",
    "--batch-size",
    "16",
    "--quiet",
)
"""The smallest training: 2 blocks, 120 images."""
HANGS = 60.0
"""Seconds after which a command is taken to hang; most take one or two."""


class Child:
    """A command in a process of its own.

    Args:
        args: as on the command line.
        folder: where it runs; what it says goes to ``said.<number>`` there.
        first: called in the process before the command.
        work: called instead of the command line.
    """

    count = 0

    def __init__(
        self,
        args: Iterable[str | Path],
        folder: Path,
        first: Callable[[], object] | None = None,
        work: Callable[[], object] | None = None,
    ) -> None:
        Child.count += 1
        self._said = folder / f"said.{Child.count}"
        self.code: int | None = None
        self.hung = False
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            os.setsid()
            os.chdir(folder)
            file = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(file, stream)
            sys.stdin = sys.__stdin__
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if first is not None:
                first()
            if work is None:
                main(list(map(str, args)))
            else:
                work()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
            os._exit(code & 255)

    @property
    def said(self) -> str:
        """What it has printed."""
        return self._said.read_text(errors="replace") if self._said.exists() else ""

    @property
    def lines(self) -> int:
        """How many lines it has printed."""
        return len(self.said.strip().splitlines())

    @property
    def traceback(self) -> bool:
        """Whether it has shown one."""
        return "Traceback (most" in self.said

    def send(self, number: int) -> None:
        """A signal, if it still lives."""
        if self.code is None and not self.has_ended:
            os.kill(self.pid, number)

    def send_all(self, number: int) -> None:
        """A signal to it and to the processes that it has started."""
        if self.code is None and not self.has_ended:
            os.killpg(self.pid, number)

    def wait(self, seconds: float = HANGS) -> int | None:
        """Its exit code, negative after a signal; one that hangs is killed."""
        end = time.monotonic() + seconds
        while not self.has_ended:
            if time.monotonic() > end:
                self.hung = True
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.code = -signal.SIGKILL
                return self.code
            time.sleep(0.005)
        return self.code

    def wait_for(self, there: Callable[[], bool], seconds: float = HANGS) -> bool:
        """Wait until something is true, or it has ended; whether it is true."""
        end = time.monotonic() + seconds
        while not there() and not self.has_ended and time.monotonic() < end:
            time.sleep(0.002)
        return there()

    @property
    def has_ended(self) -> bool:
        """Whether it has; its code is known then."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None


def run(args: Iterable[str | Path], folder: Path, **options: Callable[[], object]) -> Child:
    """A command, waited for."""
    child = Child(args, folder, **options)
    child.wait()
    return child


CHANGES = (
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"),
    "shutil.rmtree",
)


def at_change(
    number: int, inside: Path, action: Callable[[], None], counted: Path | None = None
) -> Callable[[], None]:
    """Does something before this process's change number ``number`` of files in a folder, from 1.

    Args:
        number: 0 for never.
        inside: the folder, or the beginning of a path.
        action: what to do, such as `die`.
        counted: a file for the number of changes so far.
    """
    done = 0
    where = str(inside)

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal done
        if event == "open":
            path, _, flags = args
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in CHANGES:
            path = args[0]
        else:
            return
        if not isinstance(path, str | os.PathLike):
            return
        if not os.path.abspath(os.fspath(path)).startswith(where):
            return
        done += 1
        if counted is not None:
            counted.write_text(str(done))  # an event, too, but in another folder
        if done == number:
            action()

    return lambda: sys.addaudithook(hook)


def die() -> None:
    """Nothing in this process has a say in it."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_writing(size: int) -> Callable[[], None]:
    """From now on the system kills this process inside the write that passes a file's size."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit
