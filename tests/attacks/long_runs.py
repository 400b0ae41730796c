"""Many short epochs: memory, threads and descriptors of the process must stay level."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

from children import MODEL, Child
from watching import MANY

import goodness
from goodness.cli.values import read_setting
from goodness.training.callbacks import Callback

MOST_EPOCHS = 100_000
MOST_GROWTH = 4096
"""KiB of resident memory that a run may add: it moves by a few pages anyway."""
RECORD = 4.0
"""KiB of an epoch's numbers, which a run has in memory: its row, its line and that of the CSV."""
FIRST = 0.3
"""The part of the epochs after which memory has filled what it goes on using."""


class Watch(Callback):
    """Notes what the process holds after every epoch; ends the run when time is up.

    Args:
        seconds: of the run.
        file: gets a line per epoch: KiB, threads, descriptors.
    """

    def __init__(self, seconds: float, file: Path) -> None:
        self._end = time.monotonic() + seconds
        self._file = file.open("w", buffering=1)

    def on_epoch(self, trainer, row):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE") // 1024
        descriptors = len(os.listdir("/proc/self/fd"))
        self._file.write(f"{resident} {threading.active_count()} {descriptors}\n")
        trainer.stop = time.monotonic() > self._end


def grown(values: list[int]) -> int:
    """By how much the last tenth is above what stood after the first part: medians of both."""
    tenth = max(len(values) // 10, 1)
    begin = int(FIRST * len(values))
    early, late = values[begin : begin + tenth], values[-tenth:]
    return sorted(late)[len(late) // 2] - sorted(early)[len(early) // 2]


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """One run with its picture and its logs, for so long."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def work() -> None:
            goodness.fit(
                **{**read_setting(MODEL), "method": "asge-fast", "per_class": 12, "batch_size": 60},
                **{"epochs": min(enough, MOST_EPOCHS), "seed": seed, "out": folder / "run"},
                log=["tensorboard", "csv"],
                callbacks=[Watch(seconds, folder / "watched")],
            )

        child = Child([], folder, work=work)
        child.wait(seconds + 120)
        text = (folder / "watched").read_text()
        if child.code != 0:
            print(child.said)
    rows = [list(map(int, line.split())) for line in text.splitlines()]
    memory, threads, descriptors = (grown(list(column)) for column in zip(*rows, strict=True))
    per_1000 = round(1000 * memory / len(rows) / (0.95 - FIRST))
    return {
        "tried": len(rows),
        "resident_kib": rows[-1][0],
        "grown_kib": memory,
        "kib_per_1000_epochs": per_1000,
        "threads": rows[-1][1],
        "descriptors": rows[-1][2],
        "leaks": int(memory > MOST_GROWTH + RECORD * len(rows))
        + int(threads > 0)
        + int(descriptors > 0),
        "wrong": int(child.code != 0),
    }
