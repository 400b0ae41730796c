"""Runs that are killed at any moment, and resumed: the end must be that of an unkilled one."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from children import Child, at_change, die, die_writing, run
from watching import MANY, rounds

from goodness.methods import METHODS

TRAIN = (
    *("train", "--quiet", "--per-class", "12", "--batch-size", "16", "--epochs", "2"),
    *("--set", "model={name: small-cnn, widths: [10, 10], pools: [1]}"),
)
"""Two blocks whose channels serve ten classes, 120 images: a third of a second."""
ALWAYS = ("--set", "checkpoint.every_seconds=0")
"""A checkpoint after every step."""
CACHED = (
    *("--method", "mono-forward", "--plan", "sequential", "--presentation", "plain"),
    *("--set", "readouts={}", "--set", "augment={crop: 0, flip: false}"),
    *("--set", "feature_cache=features"),
)
OPTIONS = (
    *(("--method", name) for name in METHODS.names()),
    *(("--method", name, *ALWAYS) for name in METHODS.names()),
    *(CACHED, (*CACHED, *ALWAYS)),
    ("--plan", "sequential", "--method", "asge-fast", *ALWAYS),
    ("--accumulate-steps", "3", "--method", "asge-fast", *ALWAYS),
    ("--accumulate-steps", "2", "--method", "backprop", "--optimizer", "sgd"),
    ("--micro-batch", "5", "--method", "mono-forward", *ALWAYS),
    ("--ema", "0.9", "--method", "asge-fast", *ALWAYS),
    ("--ema", "0.9", "--method", "sff", "--set", "checkpoint.keep=2"),
    ("--set", "augment={mixup: 0.4, cutmix: 1.0}", *ALWAYS),
    ("--optimizer", "muon", "--clip-grad-norm", "1", *ALWAYS),
    ("--num-workers", "1", "--method", "predsim"),
    ("--set", "checkpoint.keep=1", "--log", "tensorboard,csv", "--epochs", "3"),
)
TIMES = (
    *("seconds", "images_per_second", "data_share", "peak_memory_bytes", "joules"),
    "checksum",  # of these and the rest
)
MOST_KILLS = 3
"""Of a run; after so many it may end."""
PROCESSES = 0.04
"""The share of commands that are processes of their own, from the interpreter's start on."""
OLD = 9
"""The seed of the run that is overwritten."""


class Whole(NamedTuple):
    """A run that nothing disturbed."""

    outcome: tuple[object, ...]
    changes: int
    """Of the disk."""
    seconds: float


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
    """What is killed, and what has been found.

    Args:
        folder: of the runs.
        seed: of all draws.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        faults = dict.fromkeys(("lost", "stuck", "different", "damaged", "tracebacks", "hangs"), 0)
        self.found = Counter(
            tried=0, runs=0, before_a_change=0, inside_a_write=0, by_time=0, processes=0, **faults
        )
        """``tried`` counts kills that came before the end."""
        self.whole: dict[tuple[str, ...], Whole] = {}
        self.process_seconds = 0.0
        self.old = folder / "old"
        child = run([*TRAIN, "--seed", str(OLD), "--out", self.old], folder)
        assert child.code == 0, child.said

    def whole_run(self, options: tuple[str, ...]) -> Whole:
        """The run of these options that is not killed."""
        if options not in self.whole:
            place, counted = self.fresh("whole"), self.folder / "counted"
            begun = time.monotonic()
            count = at_change(0, place, die, counted)
            child = run([*TRAIN, *options, "--out", place], self.folder, first=count)
            assert child.code == 0, child.said
            seconds = time.monotonic() - begun
            self.whole[options] = Whole(outcome(place), int(counted.read_text()), seconds)
        return self.whole[options]

    def fresh(self, name: str) -> Path:
        """A place for a run; nothing is cached either."""
        shutil.rmtree(self.folder / "features", ignore_errors=True)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name

    def killed(self, args: list[str | Path], whole: Whole, place: Path) -> bool:
        """A command that is killed somewhere; whether that came before its end."""
        drawn = self.random.random()
        if drawn < PROCESSES:
            return self._killed_process(args)
        if drawn < 0.4:
            child, how = Child(args, self.folder), "by_time"
            time.sleep(self.random.uniform(0, whole.seconds))
            child.send(signal.SIGKILL)
            child.wait()
        else:
            number, action, how = self.random.randint(1, whole.changes), die, "before_a_change"
            if drawn < 0.7:
                # Files have some hundred bytes or some ten thousand.
                size = int(10 ** self.random.uniform(0, 4.5))
                action, how = die_writing(size), "inside_a_write"
            child = run(args, self.folder, first=at_change(number, place, action))
        self.seen(child)
        killed = child.code in (-signal.SIGKILL, -signal.SIGXFSZ) and not child.hung
        self.found["tried"] += killed
        self.found[how] += killed
        return killed

    def _killed_process(self, args: list[str | Path]) -> bool:
        command = [sys.executable, "-m", "goodness", *map(str, args)]
        begun = time.monotonic()
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if not self.process_seconds:  # the first one tells how long they take
            process.wait()
            self.process_seconds = time.monotonic() - begun
            return False
        try:
            # Half of it is imports.
            process.wait(self.random.uniform(0.4, 1.0) * self.process_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        killed = process.wait() == -signal.SIGKILL
        self.found["tried"] += killed
        self.found["processes"] += killed
        return killed

    def seen(self, child: Child) -> Child:
        """Note what no command may show."""
        self.found["hangs"] += child.hung
        self.found["tracebacks"] += child.traceback
        if child.hung or child.traceback:
            print(child.said, file=sys.stderr)
        return child

    def once(self) -> None:
        """A run, new or in place of an old one, that is killed up to three times."""
        options = self.random.choice(OPTIONS)
        whole = self.whole_run(options)
        self.found["runs"] += 1
        place = self.fresh("run")
        begin = [*TRAIN, *options, "--out", place]
        old = self.random.random() < 0.3
        if old:
            shutil.copytree(self.old, place)
            (place / "notes.md").write_text("mine")
            (place / "mine").mkdir()
            (place / "mine" / "notes.md").write_text("mine")
            begin.append("--overwrite")
        if self.killed(begin, whole, place) and old:
            self.fault("lost", not self.readable(place), options)
        for _ in range(self.random.randrange(MOST_KILLS)):
            if self.ours(place):
                self.killed(["train", "--resume", place], whole, place)
        self.finish(begin, place, options)
        notes = [place / "notes.md", place / "mine" / "notes.md"] if old else []
        self.fault("damaged", any(not note.exists() for note in notes), options)

    def fault(self, name: str, there: bool, what: object) -> None:
        """Count one, and say where."""
        self.found[name] += there
        if there:
            print(f"{name}: {what}", file=sys.stderr)

    def ours(self, place: Path) -> bool:
        """Whether the folder holds the new run, so that it is to be resumed."""
        try:
            return json.loads((place / "config.json").read_text())["seed"] != OLD
        except (OSError, ValueError):
            return False

    def readable(self, place: Path) -> bool:
        """Whether the folder still answers, by the old run or the new one."""
        return self.seen(run(["evaluate", place, "--json"], self.folder)).code == 0

    def finish(self, begin: list[str | Path], place: Path, options: tuple[str, ...]) -> None:
        """What a user does: resume; where there is nothing to resume, begin again."""
        resume = ["train", "--resume", place]
        child = self.seen(run(resume, self.folder)) if self.ours(place) else None
        if child is None or (child.code == 2 and "has finished" not in child.said):
            child = self.seen(run(begin, self.folder))
            if child.code:
                self.fault("stuck", True, f"{options} {child.said}")
                return
        try:
            same = outcome(place) == self.whole[options].outcome
            self.fault("different", not same, f"{options} {child.said}")
        except (OSError, ValueError) as error:
            self.fault("lost", True, f"{options} {error} {child.said}")


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """Kill runs for so long, or so many times."""
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder), seed)
        for _ in rounds(seconds, lambda: kills.found["tried"] >= enough):
            kills.once()
    return dict(kills.found)
