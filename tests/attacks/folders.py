"""Several processes, links, users' files and failures in one run folder."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from children import TRAIN, Child, run
from kills import outcome
from watching import MANY, rounds

EPOCHS = ("--epochs", "3", "--set", "log=[csv]")
SEEDS = (0, 1)


class Folders:
    """Finished runs to compare with and to copy, and what has been found."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.found = Counter(
            tried=0, lost=0, stuck=0, damaged=0, silent=0, chatty=0, tracebacks=0, hangs=0
        )
        self.whole = []
        for number in SEEDS:
            child = run([*self.begin(number), "--out", folder / f"whole{number}"], folder)
            assert child.code == 0, child.said
            self.whole.append(outcome(folder / f"whole{number}"))
        self.half = folder / "half"
        child = Child([*self.begin(0), "--out", self.half], folder)
        child.wait_for(lambda: (self.half / "best" / "state.json").exists())
        child.send(signal.SIGKILL)
        child.wait()

    def begin(self, seed: int) -> list[str | Path]:
        """A training."""
        return [*TRAIN, *EPOCHS, "--seed", str(seed)]

    def place(self, like: Path | None = None) -> Path:
        """A folder, fresh or a copy."""
        place = self.folder / "run"
        if place.is_symlink():
            place.unlink()
        shutil.rmtree(place, ignore_errors=True)
        if like is not None:
            shutil.copytree(like, place)
        return place

    def seen(self, child: Child) -> Child:
        """Note what no command may show."""
        self.found["hangs"] += child.hung
        self.found["tracebacks"] += child.traceback
        self.found["chatty"] += child.code != 0 and child.lines > 1
        return child

    def check_whole(self, place: Path) -> None:
        """A run that ended is that of its seed."""
        try:
            seed = json.loads((place / "config.json").read_text())["seed"]
            self.found["damaged"] += outcome(place) != self.whole[seed]
        except (OSError, ValueError):
            self.found["damaged"] += 1

    def pairs(self) -> None:
        """Two of train, resume and overwrite in one folder at the same time."""
        like = self.random.choice((None, self.half, self.folder / "whole1"))
        place = self.place(like)
        commands = [
            [*self.begin(0), "--out", place],
            [*self.begin(1), "--out", place, "--overwrite"],
            *([["train", "--resume", place]] if like == self.half else []),
        ]
        children = []
        for _ in range(2):
            children.append(Child(self.random.choice(commands), self.folder))
            time.sleep(self.random.uniform(0, 0.6))
        for child in children:
            child.wait()
            self.seen(child)
        if any(child.code == 0 for child in children):
            self.check_whole(place)
        elif like is None:
            self.found["stuck"] += 1

    def notes(self) -> None:
        """Whoever overwrites a run keeps what it did not write; links and ``.`` are folders too.

        A checkpoint's folder is replaced whole by every epoch: a note in there is refused.
        """
        place = self.place(self.folder / "whole1")
        (place / "explained").mkdir()
        mine = [place / "notes.md", place / "tensorboard.md", place / "explained" / "a.txt"]
        inside = self.random.random() < 0.3
        if inside:
            mine.append(place / "best" / "notes.md")
        elsewhere = self.folder / "elsewhere"
        shutil.rmtree(elsewhere, ignore_errors=True)
        shutil.copytree(self.half, elsewhere)
        (place / "tensorboard").symlink_to(elsewhere)
        for note in mine:
            note.write_text("mine")
        how = self.random.choice(("plain", "link", "dot"))
        out, where = place, self.folder
        if how == "link":
            out = self.folder / "link"
            out.unlink(missing_ok=True)
            out.symlink_to(place)
        elif how == "dot":
            out, where = Path(), place
        child = self.seen(run([*self.begin(0), "--out", out, "--overwrite"], where))
        for left in where.glob("said.*"):
            left.unlink()
        self.found["stuck"] += child.code != (2 if inside else 0)
        self.found["lost"] += not all(note.exists() for note in mine)
        self.found["lost"] += not (elsewhere / "config.json").exists()
        if child.code == 0:
            self.check_whole(place)

    def failures(self) -> None:
        """A run that fails in its first epoch leaves the old one."""
        place = self.place(self.folder / "whole1")
        begin = [*self.begin(0), "--out", place, "--overwrite"]
        if self.random.random() < 0.5:
            child = self.seen(run([*begin, "--lr", "1e30"], self.folder))
        else:
            child = Child(begin, self.folder)
            child.wait_for(lambda: json.loads(_read(place / "config.json")).get("seed") == 0, 20)
            time.sleep(self.random.uniform(0, 0.1))
            child.send(self.random.choice((signal.SIGINT, signal.SIGTERM)))
            child.wait()
            self.seen(child)
        self.found["lost"] += run(["evaluate", place, "--json"], self.folder).code != 0

    def leftovers(self) -> None:
        """What a killed process leaves blocks nobody."""
        place = self.place()
        place.mkdir()
        (place / ".config.json.123.new").write_text("{")
        child = self.seen(run([*self.begin(0), "--out", place], self.folder))
        self.found["stuck"] += child.code != 0

    def outputs(self) -> None:
        """No command replaces a file that it was not asked to."""
        place = self.place(self.folder / "whole0")
        mine = self.folder / "mine.safetensors"
        mine.write_text("mine")
        self.seen(run(["export", place, "--out", mine], self.folder))
        picture = self.folder / "explained" / "cat.png"
        picture.parent.mkdir(exist_ok=True)
        picture.write_text("mine")
        image = self.folder / "cat.png"
        if not image.exists():
            from PIL import Image

            Image.new("L", (8, 8), 99).save(image)
        self.seen(run(["explain", place, image, "--out", picture.parent], self.folder))
        self.found["damaged"] += any(each.read_bytes() != b"mine" for each in (mine, picture))

    def rights(self) -> None:
        """Every file has the rights that the umask leaves."""
        place, mask = self.place(), self.random.choice((0o022, 0o002, 0o077))
        begin = [*self.begin(0), "--set", "checkpoint.keep=1", "--out", place]
        self.seen(run(begin, self.folder, first=lambda: os.umask(mask)))
        for path in place.rglob("*"):
            wanted = (0o777 if path.is_dir() else 0o666) & ~mask
            self.found["damaged"] += stat.S_IMODE(path.stat().st_mode) != wanted


SCENARIOS: list[tuple[Callable[[Folders], None], int]] = [
    *((Folders.pairs, 8), (Folders.notes, 3), (Folders.failures, 4)),
    *((Folders.leftovers, 1), (Folders.outputs, 1), (Folders.rights, 1)),
]
"""And how often each one, beside the others."""


def _read(file: Path) -> str:
    try:
        return file.read_text() or "{}"
    except OSError:
        return "{}"


def processes() -> list[int]:
    """The numbers of all that run."""
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]


def arguments(pid: int) -> str:
    """A process's command line; empty if it has ended."""
    return _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """Scenarios by chance, for so long."""
    with tempfile.TemporaryDirectory() as folder:
        folders = Folders(Path(folder), seed)
        ways = [way for way, often in SCENARIOS for _ in range(often)]
        folders.random.shuffle(ways)
        for _ in rounds(seconds, lambda: folders.found["tried"] >= enough):
            way = ways.pop()
            ways.insert(0, way)
            folders.found["tried"] += 1
            way(folders)
    return dict(folders.found)
