"""Signals at any moment, lost processes and images, and places that cannot be written."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from children import MODEL, TRAIN, Child, run
from PIL import Image
from watching import MANY, rounds

from goodness.data import reading

LONG = ("--epochs", "400", "--set", "log=[]")
IMAGES = ("train", "--method", "asge-fast", "--set", MODEL, "--batch-size", "8", "--quiet")
NEW_MOUNTS = 0x00020000
"""CLONE_NEWNS of Linux."""
ENDED = {signal.SIGINT: 130, signal.SIGTERM: 143}


def decoding_always() -> None:
    """Let no image stay in memory, so that processes decode them while training goes on."""
    reading.MEMORY_LIMIT = 0


def with_little_shared_memory() -> None:
    """A /dev/shm of 16 KiB, for this process and its children."""
    if ctypes.CDLL(None).unshare(NEW_MOUNTS):
        raise OSError("no rights to unshare")
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/dev/shm"],
    ):
        subprocess.run(command, check=True)
    decoding_always()


class Surroundings:
    """A folder of images, and what has been found."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.found = Counter(tried=0, wrong=0, lost=0, tracebacks=0, chatty=0, hangs=0)
        self.photos = folder / "photos"
        pixels = np.random.default_rng(seed).integers(0, 255, (90, 24, 24, 3), dtype=np.uint8)
        for part in ("train", "val", "test"):
            for number, image in enumerate(pixels):
                place = self.photos / part / f"class{number % 3}" / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(place)

    def place(self) -> Path:
        """A fresh run folder."""
        place = self.folder / "run"
        shutil.rmtree(place, ignore_errors=True)
        return place

    def seen(self, child: Child, *codes: int) -> None:
        """Note what no command may show, or end with."""
        self.found["hangs"] += child.hung
        self.found["tracebacks"] += child.traceback
        self.found["chatty"] += child.code != 0 and child.lines > 1
        self.found["wrong"] += not child.hung and child.code not in codes

    def signals(self) -> None:
        """A signal at a random time, and maybe a second and a third one."""
        place, marker = self.place(), self.folder / "begun"
        marker.unlink(missing_ok=True)
        workers = self.random.random() < 0.5
        args = [*TRAIN, *LONG] if not workers else [*IMAGES, *LONG, "--data", self.photos]
        args += ["--num-workers", "2"] if workers else []
        number = self.random.choice(list(ENDED))

        def first() -> None:
            if workers:
                decoding_always()
            signal.signal(number, lambda *_: os._exit(ENDED[number]))  # as yet none of ours
            marker.touch()

        child = Child([*args, "--out", place], self.folder, first=first)
        child.wait_for(marker.exists)
        time.sleep(self.random.uniform(0, 3) ** 2 / 3)
        for _ in range(self.random.randint(1, 3)):
            # As a terminal does, to all of them.
            if self.random.random() < 0.5 and number == signal.SIGINT:
                child.send_all(number)
            else:
                child.send(number)
            time.sleep(self.random.uniform(0, 0.2))
        child.wait()
        self.seen(child, ENDED[number])
        # From here on the run must be one that goes on.
        if (place / "config.json").exists():
            again = run(["train", "--resume", place, "--epochs", "1"], self.folder)
            self.found["lost"] += again.code != 0 and "has finished" not in again.said
            self.found["tracebacks"] += again.traceback

    def decoder(self) -> None:
        """A process that decodes images is killed."""
        place = self.place()
        args = [*IMAGES, *LONG, "--data", self.photos, "--num-workers", "2", "--out", place]
        child = Child(args, self.folder, first=decoding_always)
        child.wait_for((place / "config.json").exists)
        time.sleep(self.random.uniform(0, 2))
        killed = False
        for _ in range(200):
            if workers := _children(child.pid):
                try:
                    os.kill(self.random.choice(workers), signal.SIGKILL)
                    killed = True
                    break
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        if killed:
            child.wait(20)
            self.seen(child, 1)
        else:
            child.send_all(signal.SIGKILL)
            child.wait()

    def image(self) -> None:
        """An image goes, or is damaged, while training goes on."""
        gone = self.photos / "train" / "class1" / "4.png"
        kept = gone.read_bytes()
        workers = self.random.choice("02")
        args = [*IMAGES, *LONG, "--data", self.photos, "--num-workers", workers]
        place = self.place()
        child = Child([*args, "--out", place], self.folder, first=decoding_always)
        child.wait_for((place / "last" / "state.json").exists)
        if self.random.random() < 0.5:
            gone.unlink()
        else:
            gone.write_bytes(kept[:100])
        child.wait()
        gone.write_bytes(kept)
        self.seen(child, 1, 2)

    def shared_memory(self) -> None:
        """/dev/shm is too small for a batch."""
        if os.getuid() != 0:
            return
        args = [*IMAGES, "--epochs", "2", "--data", self.photos, "--num-workers", "2"]
        args += ["--out", self.place()]
        child = run(args, self.folder, first=with_little_shared_memory)
        self.seen(child, 0, 1)

    def pictures(self) -> None:
        """What is only to look at cannot be written: a warning, and training goes on."""
        place = self.place()
        way = self.random.choice(("picture", "events", "table", "later"))
        args = [*TRAIN, "--epochs", "4", "--log", "tensorboard,csv", "--out", place]
        if way == "picture":
            first = self._prepared(place / "curves.png" / "x")
        elif way == "table":
            first = self._prepared(place / "metrics.csv" / "x")
        elif way == "events":
            first = self._prepared(place / "tensorboard")
        else:
            first = None
        child = Child(args, self.folder, first=first)
        if way == "later":
            child.wait_for((place / "tensorboard").exists)
            shutil.rmtree(place / "tensorboard", ignore_errors=True)
        child.wait()
        self.seen(child, 0)
        warned = [line for line in child.said.splitlines() if "note:" in line]
        self.found["chatty"] += len(warned) > 1
        self.found["wrong"] += way not in ("later", "events") and not warned

    def _prepared(self, blocking: Path) -> Callable[[], None]:
        """What stands where something is to be written, from the moment that the run has begun."""
        from goodness.reports import environment

        found = environment.environment

        def then(*args, **options):
            if blocking.name == "x":
                blocking.mkdir(parents=True)
            else:
                blocking.write_text("in the way")
            return found(*args, **options)

        def first() -> None:
            environment.environment = then

        return first


SCENARIOS = [
    *((Surroundings.signals, 6), (Surroundings.decoder, 2), (Surroundings.image, 2)),
    *((Surroundings.shared_memory, 1), (Surroundings.pictures, 3)),
]


def _children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(each) for each in found.split()]


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """Scenarios by chance, for so long."""
    with tempfile.TemporaryDirectory() as folder:
        surroundings = Surroundings(Path(folder), seed)
        ways = [way for way, often in SCENARIOS for _ in range(often)]
        surroundings.random.shuffle(ways)
        for _ in rounds(seconds, lambda: surroundings.found["tried"] >= enough):
            way = ways.pop()
            ways.insert(0, way)
            surroundings.found["tried"] += 1
            way(surroundings)
    return dict(surroundings.found)
