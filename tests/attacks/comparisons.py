"""Comparisons that are killed: their workers end with them, and the next one goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from children import MODEL, Child
from folders import arguments, processes
from kills import outcome, timeless
from watching import MANY, rounds

from goodness.comparison.study import Study
from goodness.comparison.summary import summarise

ENTRY = "asge-fast"
COMPARE = (
    *("compare", ENTRY, "--no-baseline", "--set", MODEL, "--budget", "4", "--num-threads", "1"),
    *("--set", "batch_size=60", "--set", "checkpoint.every_seconds=0.2", "--seeds", "1"),
)
TIMES = ("run_seconds", "off_budget", "arrival")
"""What a row says of how long it took."""
SIGNALS = (signal.SIGKILL, signal.SIGHUP)
ALONE = 20.0
"""Seconds that workers may live on without their comparison; they save first."""
LONG = 400.0
"""Seconds after which a comparison hangs: it imports torch in every worker."""


class Comparisons:
    """One comparison that has planned its runs, which is gone on with again and again.

    The lengths of runs depend on how fast the machine was, so that two comparisons are never alike.
    Two that go on with the same run are.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.found = Counter(tried=0, alive=0, stuck=0, different=0, tracebacks=0, hangs=0)
        self.planned = folder / "planned"
        child = Child([*COMPARE, "--out", self.planned], folder)
        child.wait_for((self.planned / ENTRY / "seed-0" / "config.json").exists, LONG)
        self.killed(child, self.planned, signal.SIGKILL)
        begun = time.monotonic()
        assert self.ended("whole").code == 0
        self.seconds = time.monotonic() - begun
        self.whole = self.outcome("whole")

    def ended(self, name: str) -> Child:
        """A comparison that goes on, in a copy, until its end."""
        place = self.folder / name
        if not place.exists():
            shutil.copytree(self.planned, place)
        child = Child([*COMPARE, "--out", place], self.folder)
        child.wait(LONG)
        self.found["hangs"] += child.hung
        self.found["tracebacks"] += child.traceback
        if child.code:
            print(child.said, file=sys.stderr)
        return child

    def outcome(self, name: str) -> object:
        """What two comparisons by the same plan have in common: the report, every run."""
        study = Study.open(self.folder / name)
        rows, _ = summarise(study)
        run = outcome(self.folder / name / ENTRY / "seed-0")
        return [
            {key: value for key, value in timeless(asdict(row)).items() if key not in TIMES}
            for row in rows
        ], run

    def killed(self, child: Child, place: Path, number: int) -> None:
        """A comparison gets a signal; its workers have to end too."""
        child.send(number)
        child.wait(ALONE)
        self.found["tried"] += 1
        end = time.monotonic() + ALONE
        while (left := self._workers(place)) and time.monotonic() < end:
            time.sleep(0.1)
        self.found["alive"] += len(left)
        for pid in left:
            os.kill(pid, signal.SIGKILL)

    def _workers(self, place: Path) -> list[int]:
        return [pid for pid in processes() if str(place) in arguments(pid)]

    def once(self) -> None:
        """Killed once or twice, then gone on with until the end."""
        place = self.folder / "killed"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.planned, place)
        for _ in range(self.random.randint(1, 2)):
            child = Child([*COMPARE, "--out", place], self.folder)
            time.sleep(self.random.uniform(0, self.seconds))
            self.killed(child, place, self.random.choice(SIGNALS))
        self.found["stuck"] += self.ended("killed").code != 0
        different = self.outcome("killed") != self.whole
        self.found["different"] += different
        if different:
            print(f"different: {str(self.outcome('killed')[0])[:2000]}", file=sys.stderr)


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """Kill comparisons for so long, or so many."""
    with tempfile.TemporaryDirectory() as folder:
        comparisons = Comparisons(Path(folder), seed)
        for _ in rounds(seconds, lambda: comparisons.found["tried"] >= enough):
            comparisons.once()
    return dict(comparisons.found)
