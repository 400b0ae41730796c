"""Images read by threads, or by processes of their own, whose errors are single lines here."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from goodness.errors import NO_WORKER, InputError, RunError

Item = TypeVar("Item")
Found = TypeVar("Found")
MOST_THREADS = 8
SHARED_MEMORY = Path("/dev/shm")
LEAST_SHARED = 2**20
"""Bytes there; processes that have less cannot even begin."""


def by_threads(
    function: Callable[[Item], Found], items: Iterable[Item], ahead: int
) -> Iterator[Found]:
    """``function`` of every item in order, by threads, as decoders free the interpreter's lock.

    Args:
        function: of an item.
        items: taken as they are needed.
        ahead: so many more than there are threads are begun before they are asked for.
    """
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    waiting = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        begun = deque(pool.submit(function, item) for item in islice(waiting, threads + ahead))
        try:
            while begun:
                found = begun.popleft().result()
                begun.extend(pool.submit(function, item) for item in islice(waiting, 1))
                yield found
        finally:
            for task in begun:
                task.cancel()


def read_batches(
    dataset: Dataset[Any],
    rows: Sequence[Any],
    *,
    num_workers: int,
    pin_memory: bool,
    collate: Callable[[list[Any]], Any] | None = None,
) -> Iterator[Any]:
    """The batches of these rows, a list of indices each.

    Args:
        dataset: what the processes read.
        rows: for every batch its indices.
        num_workers: how many processes; 0: this one.
        pin_memory: for a device that copies from pinned memory.
        collate: makes a batch of a list of items; None stacks them.

    Raises:
        InputError: an item cannot be read.
        RunError: there is no room for what processes share, or one of them is gone.
    """
    if num_workers and SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free
        if free < LEAST_SHARED:
            raise RunError(
                f"--num-workers needs room in {SHARED_MEMORY}, which has {free} bytes left"
                " (--num-workers 0 needs none; docker run --shm-size 1g gives more)"
            )
    loader = DataLoader(
        dataset,
        batch_sampler=rows,
        num_workers=num_workers,
        pin_memory=pin_memory,
        collate_fn=collate,
        worker_init_fn=_begin_quietly if num_workers else None,
    )
    try:
        yield from loader
    except InputError as error:
        # That of another process comes as its traceback in one text.
        *trace, last = str(error.args[0]).rstrip().splitlines() or [""]
        raise InputError(last.partition("Error: ")[2]) if trace else error from None
    except (ConnectionError, EOFError):  # it was killed while it handed a batch over
        raise RunError(NO_WORKER) from None


def _begin_quietly(_: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the one that trains ends the others.

    Where that one has gone, a thread that hands tensors over has nothing to say of it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.excepthook = _shown_unless_lost


def _shown_unless_lost(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What `sys.excepthook` does, but for connections that have ended."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)
