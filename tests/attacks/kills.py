"""Runs that are killed at any moment, and resumed: the end must be that of an unkilled one."""

from __future__ import annotations

import json
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from children import TRAIN, Child, killed_before, run

VARIANTS = (
    ("--epochs", "3", "--set", "log=[csv]"),
    ("--epochs", "2", "--set", "checkpoint.every_seconds=0", "--set", "log=[]"),
    ("--epochs", "3", "--set", "checkpoint.keep=2", "--log", "tensorboard"),
)
TIMES = ("seconds", "images_per_second", "data_share", "peak_memory_bytes", "joules")
MOST_KILLS = 3
"""Of a run; after so many it may end."""


def timeless(value):
    """A record without what no two runs share."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if not key.startswith(TIMES)}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def outcome(folder: Path):
    """What two equal runs have in common: every weight's bits, the curves, the result."""
    tensors = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob("[!.]*/**/*.safetensors"))
    }
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    return tensors, timeless(rows), timeless(result)


class Kills:
    """Whole runs of every variant, to compare with, and what has been found."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.found = Counter(tried=0, lost=0, stuck=0, damaged=0, tracebacks=0)
        self.whole, self.changes, self.seconds = [], [], []
        for number, variant in enumerate(VARIANTS):
            place, counted = folder / f"whole{number}", folder / "counted"
            begun = time.monotonic()
            child = run(
                [*TRAIN, *variant, "--out", place], folder, first=killed_before(0, place, counted)
            )
            assert child.code == 0, child.said
            self.seconds.append(time.monotonic() - begun)
            self.changes.append(int(counted.read_text()))
            self.whole.append(outcome(place))
        self.old = folder / "old"
        child = run([*TRAIN, "--epochs", "1", "--seed", "9", "--out", self.old], folder)
        assert child.code == 0, child.said

    def killed(self, args: list[str | Path], variant: int, place: Path) -> Child:
        """A command that is killed before a change of the disk, or at a random time."""
        self.found["tried"] += 1
        if self.random.random() < 0.7:
            number = self.random.randint(1, self.changes[variant])
            child = run(args, self.folder, first=killed_before(number, place))
        else:
            child = Child(args, self.folder)
            time.sleep(self.random.uniform(0, self.seconds[variant]))
            child.send(signal.SIGKILL)
            child.wait()
        self.found["tracebacks"] += child.traceback
        return child

    def once(self) -> None:
        """A run, new or in place of an old one, that is killed up to three times."""
        variant = self.random.randrange(len(VARIANTS))
        place = self.folder / "run"
        shutil.rmtree(place, ignore_errors=True)
        begin = [*TRAIN, *VARIANTS[variant], "--out", place]
        old = self.random.random() < 0.4
        if old:
            shutil.copytree(self.old, place)
            (place / "notes.md").write_text("mine")
            (place / "mine").mkdir()
            (place / "mine" / "notes.md").write_text("mine")
            begin.append("--overwrite")
        child = self.killed(begin, variant, place)
        if child.code == -signal.SIGKILL and old:
            self.found["lost"] += not self.readable(place)
        for _ in range(self.random.randrange(MOST_KILLS)):
            if self.ours(place):
                self.killed(["train", "--resume", place], variant, place)
        self.finish(begin, place, variant)
        notes = [place / "notes.md", place / "mine" / "notes.md"] if old else []
        self.found["damaged"] += any(not note.exists() for note in notes)

    def ours(self, place: Path) -> bool:
        """Whether the folder holds the new run, so that it is to be resumed."""
        try:
            return json.loads((place / "config.json").read_text())["seed"] != 9
        except (OSError, ValueError):
            return False

    def readable(self, place: Path) -> bool:
        """Whether the folder still answers, by the old run or the new one."""
        child = run(["evaluate", place, "--json"], self.folder)
        self.found["tracebacks"] += child.traceback
        return child.code == 0

    def finish(self, begin: list[str | Path], place: Path, variant: int) -> None:
        """What a user does: resume; where there is nothing to resume, begin again."""
        child = run(["train", "--resume", place], self.folder) if self.ours(place) else None
        self.found["tracebacks"] += child is not None and child.traceback
        if child is None or (child.code == 2 and "has finished" not in child.said):
            child = run(begin, self.folder)
            self.found["tracebacks"] += child.traceback
            if child.code:
                self.found["stuck"] += 1
                return
        try:
            self.found["lost"] += outcome(place) != self.whole[variant]
        except (OSError, ValueError):
            self.found["lost"] += 1


def attack(seconds: float, seed: int) -> dict[str, int]:
    """Kill runs for so long."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder), seed)
        while time.monotonic() < end:
            kills.once()
    return dict(kills.found)
