"""One process per folder: a lock that the system releases when its process ends, however it ends.

Nothing has to be cleaned up after a process that was killed, and no process is asked whether it
still lives. Who holds the lock stands beside it, for the others to read.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from goodness.errors import InputError
from goodness.files import write_json
from goodness.notes import note

LOCK, OWNER = ".lock", ".owner.json"
"""In the folder. The first one stays there: to delete it would let two processes lock two files."""


class Busy(InputError):
    """Another process works in the folder."""


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[bool]:
    """Inside it the folder is this process's alone; readers are not kept out.

    Args:
        folder: it exists.
        wait: seconds to wait for the process that has it.

    Yields:
        Whether it is: not where the file system has no locks, which a note tells.

    Raises:
        Busy: another process has it; the message has its number and its machine.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise Busy(
            f"'{folder}' is in use by {_owner(folder)}: wait until it has ended, or choose another"
            " folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        if not os.access(folder, os.W_OK):
            raise InputError(f"nothing can be written in '{folder}' ({error})") from None
        note(f"'{folder}' cannot be locked ({error}): see that no other process writes there")
        yield False
        return
    owner = folder / OWNER
    try:
        write_json(owner, {"pid": os.getpid(), "machine": socket.gethostname()})
        yield True
    finally:
        with suppress(OSError):
            owner.unlink()
        lock.release()


def check_free(folder: Path) -> None:
    """Refuse a folder in which another process works, before any work is done for it.

    Raises:
        Busy: see `locked`.
    """
    if (folder / LOCK).exists():
        with locked(folder):
            pass


def _owner(folder: Path) -> str:
    try:
        found = json.loads((folder / OWNER).read_text())
        pid, machine = int(found["pid"]), str(found["machine"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    if (pid, machine) == (os.getpid(), socket.gethostname()):
        return f"this very process, {pid}"
    return f"process {pid} on {machine}"
