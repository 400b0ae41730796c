"""Where a command stands and what it is given: folders of somebody else, odd names, odd streams,
full disks, no home."""

from __future__ import annotations

import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from children import Child
from PIL import Image
from watching import MANY, rounds

import goodness
from goodness.printable import CONTROL

TRAIN = (
    *("train", "--method", "sff", "--set", "model={name: small-cnn, widths: [4, 4], pools: []}"),
    *("--epochs", "1", "--batch-size", "8", "--quiet", "--set", "log=[]"),
)
"""The smallest training."""
CODES = (0, 1, 2, 130, 143)
NOBODY = 65_534
SOURCE = Path(goodness.__file__).parents[1]


class Places:
    """One scene after another, each in a folder of its own.

    Args:
        folder: what is written goes here.
        seed: of all draws.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        kinds = ("wrong", "tracebacks", "hangs", "chatty", "escaped", "executed")
        self.found = Counter(tried=0, **dict.fromkeys(kinds, 0))
        os.environ["GOODNESS_DATA"] = str(folder / "no data")
        self.photos = photos(folder / "photos", ("cat", "dog"))
        self.run = folder / "run"
        done = Child((*TRAIN, "--data", self.photos, "--out", self.run), folder)
        if done.wait():
            raise RuntimeError(done.said)
        self.config = (self.run / "config.json").read_text()
        self.scenes = [name for name in dir(self) if name.startswith("scene_")]
        self.rng.shuffle(self.scenes)

    def go(self, number: int) -> None:
        """The scene of this number."""
        name = self.scenes[number % len(self.scenes)]
        place = self.folder / f"{number}"
        place.mkdir()
        getattr(self, name)(place)
        shutil.rmtree(place, ignore_errors=True)

    def command(
        self,
        words: Iterable[object],
        place: Path,
        codes: Iterable[int] = CODES,
        first: Callable[[], object] | None = None,
        silent: bool = False,
    ) -> Child:
        """A command, and what is wrong with how it ends."""
        child = Child([str(word) for word in words], place, first)
        child.wait(40)
        self.found["tried"] += 1
        faults = []
        if child.hung:
            faults.append("hangs")
        elif child.traceback or "Exception ignored" in child.said:
            faults.append("tracebacks")
        elif child.code not in codes:
            faults.append("wrong")
        elif child.code in (1, 2) and not silent:
            lines = child.said.strip().splitlines()
            if not lines or not lines[-1].startswith("error: ") or "error: " in "".join(lines[:-1]):
                faults.append("chatty")
        if CONTROL.search(child.said.replace("\n", "").replace("\ufffd", "")):
            faults.append("escaped")
        for fault in faults:
            self.found[fault] += 1
            said = child.said[-1500:].encode("unicode_escape").decode().replace("\\n", "\n  ")
            print(f"{fault} ({child.code}): {list(words)}\n  {said}", file=sys.stderr)
        return child

    # Names

    def scene_escapes(self, place: Path) -> None:
        """Names that a terminal would obey."""
        evil = self.rng.choice(["\x1b[31mcat", "a\nb", "\x1b]0;x\x07", "x\x9b2J", "a\u202eb", "\r"])
        data = photos(place / f"{evil}data", (evil, "dog"))
        image = next((data / evil).iterdir())
        run = place / "run"
        self.command([*TRAIN, "--data", data, "--out", run], place, [0])
        self.command(["evaluate", run], place, [0])
        self.command(["predict", run, image], place, [0])
        self.command(["predict", run, image, "--json"], place, [0])
        self.command(["explain", run, image], place, [0])
        self.command(["predict", run, place / f"{evil}.png"], place, [2])
        self.command(["evaluate", self.run, "--data", data], place, [2])
        self.command([*TRAIN, "--data", data, "--dry-run"], place, [0])
        self.command([*TRAIN, "--data", f"{evil}x"], place, [2])
        self.command([*TRAIN, "--set", f"{evil}=1"], place, [2])

    def scene_no_utf8(self, place: Path) -> None:
        """Names that are no UTF-8."""
        odd = os.fsdecode(b"caf\xe9\xff")
        data = photos(place / odd, (odd, "dog"))
        image = next((data / odd).iterdir())
        run = place / "run"
        self.command([*TRAIN, "--data", data, "--out", run], place, [0])
        self.command([*TRAIN, "--data", data, "--out", place / f"{odd} run"], place, [2])
        self.command([*TRAIN, "--data", data], place, [0])
        self.command(["evaluate", run], place, [0])
        self.command(["predict", run, image], place, [0])
        self.command(["predict", run, image, "--json"], place, [0])
        self.command(["predict", run, image, "--out", place / f"{odd}.csv"], place, [0])
        self.command(["explain", run, image], place, [0])
        self.command(["predict", run, place / odd / "none.png"], place, [2])
        self.command(["evaluate", place / f"{odd}2"], place, [2])
        self.command([*TRAIN, "--config", place / f"{odd}.yaml"], place, [2])
        self.command(["push", run, place / f"{odd} shared"], place, [2])

    def scene_long(self, place: Path) -> None:
        """Names as long as a system allows."""
        long = "n" * 250
        data = photos(place / long, (long, "m" * 250))
        image = place / f"{'i' * 246}.png"
        shutil.copy(next((data / long).iterdir()), image)
        self.command([*TRAIN, "--data", data], place, [0])
        run = place / "run"
        self.command([*TRAIN, "--data", data, "--out", run], place, [0])
        self.command(["evaluate", run, "--data", data, "--split", "val"], place, [0])
        self.command(["explain", run, image], place, [0])
        self.command(["predict", run, image], place, [0])
        self.command([*TRAIN, "--out", place / ("o" * 300)], place, [1, 2])
        self.command([*TRAIN, "--data", "d" * 5000], place, [2])
        self.command(["predict", run, "p" * 5000], place, [2])

    def scene_homes(self, place: Path) -> None:
        """Homes of nobody, and none at all."""
        for words in (
            [*TRAIN, "--data", "~nosuchuser/photos"],
            [*TRAIN, "--data", "~nobody/photos"],
            [*TRAIN, "--data-root", "~nosuchuser/data", "--data", "mnist"],
            [*TRAIN, "--init-from", "~nosuchuser/x.pth"],
            [*TRAIN, "--import", "~nosuchuser/x.py"],
            [*TRAIN, "--config", "~nosuchuser/x.yaml"],
            ["predict", self.run, "~nosuchuser/x.png"],
            ["predict", self.run, "~nosuchuser/*.png"],
            ["evaluate", "~nosuchuser/run"],
        ):
            self.command(words, place, [2])

        def homeless() -> None:
            del os.environ["GOODNESS_DATA"]
            os.environ.pop("HOME", None)
            os.setuid(54_321)

        place.chmod(0o777)
        if os.getuid() == 0:
            self.command([*TRAIN, "--data", "mnist", "--out", place / "run"], place, [2], homeless)
            self.command(
                [*TRAIN, "--data", self.photos, "--out", place / "run"], place, [0], homeless
            )

    # Streams

    def scene_streams(self, place: Path) -> None:
        """Output that goes nowhere."""

        def closed() -> None:
            sys.stdout = None  # type: ignore[assignment]

        def broken() -> None:
            reading, writing = os.pipe()
            os.close(reading)
            os.dup2(writing, 1)
            sys.stdout = os.fdopen(1, "w", closefd=False)

        def full() -> None:
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
            sys.stdout = os.fdopen(1, "w", closefd=False)

        def latin() -> None:
            sys.stdout.reconfigure(encoding="latin-1")  # type: ignore[union-attr]

        image = next((self.photos / "cat").iterdir())
        for words in (["methods"], ["methods", "--json"], ["predict", self.run, image]):
            self.command(words, place, [0], closed)
            self.command(words, place, [1], broken, silent=True)
            self.command(words, place, [1], full)
            self.command(words, place, [0], latin)
        train = [*TRAIN, "--data", self.photos, "--out", place / "run"]
        self.command(train, place, [1], broken, silent=True)

    # Disks and rights

    def scene_full_disk(self, place: Path) -> None:
        """A file that grows no further, wherever it happens."""
        for _ in range(4):
            size = self.rng.randrange(30_000)

            def full(size: int = size) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

            run = place / f"run {size}"
            words = [*TRAIN, "--data", self.photos, "--out", run, "--log", "tensorboard,csv"]
            self.command(words, place, [0, 1], full)
            image = next((self.photos / "cat").iterdir())
            self.command(["explain", self.run, image, "--out", place], place, [0, 1, 2], full)
            self.command(
                ["predict", self.run, image, "--out", place / "p.csv"], place, [0, 1], full
            )

    def scene_rights(self, place: Path) -> None:
        """Folders that are somebody else's."""
        if os.getuid():
            return

        def nobody() -> None:
            os.setuid(NOBODY)

        image = next((self.photos / "cat").iterdir())
        self.command([*TRAIN, "--data", self.photos], place, [1, 2], nobody)
        for words in (
            [*TRAIN, "--data", self.photos, "--out", place / "run"],
            ["train", "--resume", self.run, "--epochs", "2"],
            ["explain", self.run, image],
            ["evaluate", self.run],
            ["push", self.run, place / "shared"],
            ["export", self.run, "--out", place / "weights.safetensors"],
            ["predict", self.run, image, "--out", place / "p.csv"],
        ):
            self.command(words, place, [0, 1, 2], nobody)
        hidden = place / "hidden"
        shutil.copytree(self.photos, hidden)
        (hidden / "cat").chmod(0)
        self.command([*TRAIN, "--data", hidden, "--out", place / "r"], place, [1, 2], nobody)
        self.command(["predict", self.run, hidden / "cat"], place, [1, 2], nobody)

    def scene_gone(self, place: Path) -> None:
        """A run folder or a part of it goes while training goes on."""
        run = place / "run"
        what = self.rng.choice([run, run / "tensorboard", run / "last", run / "metrics.jsonl"])

        def remove() -> None:
            while not what.exists():
                time.sleep(0.01)
            time.sleep(self.rng.random() * 0.5)
            shutil.rmtree(what, ignore_errors=True)
            if what.is_file():
                what.unlink(missing_ok=True)

        def first() -> None:
            threading.Thread(target=remove, daemon=True).start()

        words = [*TRAIN, "--data", self.photos, "--out", run, "--epochs", "30"]
        self.command([*words, "--log", "tensorboard"], place, [0, 1], first)

    def scene_inside(self, place: Path) -> None:
        """A run folder among the images."""
        data = place / "data"
        shutil.copytree(self.photos, data)
        self.command([*TRAIN, "--data", data, "--out", data / "run"], place, [2])
        self.command([*TRAIN, "--data", "."], data, [2])
        parts = place / "parts"
        for part in ("train", "test"):
            shutil.copytree(self.photos, parts / part)
        self.command([*TRAIN, "--data", parts, "--out", parts / "run"], place, [0])
        self.command(["evaluate", parts / "run"], place, [0])

    def scene_large(self, place: Path) -> None:
        """More pixels than anybody has."""

        def little() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30,) * 2)

        for size in (100_000, 20_000, 10**12):
            words = [*TRAIN, "--data", self.photos, "--image-size", size, "--out", place / "run"]
            self.command(words, place, [2], little)

    # What is no file, and folders of somebody else

    def scene_special(self, place: Path) -> None:
        """Pipes, devices and sockets in place of files."""
        fifo, link, folder = place / "fifo.png", place / "zero.png", place / "data"
        os.mkfifo(fifo)
        link.symlink_to("/dev/zero")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place / "s.png"))
        for file in (fifo, link, place / "s.png", "/dev/zero", "/dev/stdin/x"):
            self.command(["predict", self.run, file], place, [2])
            self.command(["explain", self.run, file], place, [2])
            self.command([*TRAIN, "--init-from", file], place, [2])
        self.command([*TRAIN, "--config", link], place, [2])
        folder.mkdir()
        os.mkfifo(folder / "train-0.parquet")
        self.command([*TRAIN, "--data", folder], place, [2])
        shutil.copytree(self.photos, place / "photos")
        os.mkfifo(place / "photos" / "cat" / "x.png")
        self.command([*TRAIN, "--data", place / "photos", "--out", place / "r"], place, [0])

    def scene_git(self, place: Path) -> None:
        """A repository whose configuration runs programs."""
        mark = place.parent / "executed by git"
        script = place / "harm.sh"
        script.write_text(f"#!/bin/sh\ntouch '{mark}'\ncat\n")
        script.chmod(0o755)
        git = ["git", "-C", place, "-c", "user.name=x", "-c", "user.email=x@example.org"]
        for words in (["init", "-q"], ["add", "harm.sh"], ["commit", "-qm", "x"]):
            subprocess.run([*git, *words], check=True)
        for key in (
            *("core.fsmonitor", "filter.x.clean", "filter.x.process", "core.sshCommand"),
            *("core.pager", "pager.status", "alias.status", "diff.external", "core.gitProxy"),
        ):
            subprocess.run([*git, "config", key, str(script)], check=True)
        (place / ".gitattributes").write_text("* filter=x\n")
        for hook in ("post-index-change", "reference-transaction", "fsmonitor-watchman"):
            shutil.copy(script, place / ".git" / "hooks" / hook)
        os.utime(script)
        mark.unlink(missing_ok=True)
        self.command([*TRAIN, "--data", self.photos, "--out", place / "run"], place, [0])
        self._executed(mark, "git")

    def scene_modules(self, place: Path) -> None:
        """Python files with the names of modules, and settings of Matplotlib."""
        mark = place.parent / "executed by python"
        for name in ("json", "runpy", "numpy", "torch", "yaml", "goodness", "site", "signal"):
            (place / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")
        rc = self.rng.choice(["\xff\xfe", "backend: module://json\ntext.usetex: True\n", "x"])
        (place / "matplotlibrc").write_bytes(rc.encode("latin-1"))
        # Processes of their own, as Matplotlib and the workers have to be imported.
        study = place / "study"
        settings = "model={name: small-cnn, widths: [4, 4], pools: []}"
        words = ["compare", "sff", "--no-baseline", "--data", str(self.photos), "--budget", "1"]
        words += ["--seeds", "1", "--out", str(study), "--set", settings, "--set", "batch_size=8"]
        start = (
            "import sys; sys.path[:] = [p for p in sys.path if p]\n"
            "from goodness.cli import main; main()"
        )
        for command in (words, ["evaluate", str(self.run)]):
            done = subprocess.run(
                [sys.executable, "-c", start, *command],
                cwd=place,
                capture_output=True,
                text=True,
                timeout=300,
                env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(SOURCE))},
            )
            self.found["tried"] += 1
            if done.returncode or "Traceback" in done.stderr:
                self.found["wrong"] += 1
                print(f"wrong: {command} {done.stderr[-3000:]}", file=sys.stderr)
        self._executed(mark, "python")

    def _executed(self, mark: Path, by: str) -> None:
        if mark.exists():
            self.found["executed"] += 1
            print(f"executed by {by}", file=sys.stderr)
            mark.unlink()


def photos(folder: Path, classes: Iterable[str], count: int = 12) -> Path:
    """A folder of small images."""
    pixels = np.random.default_rng(0).integers(0, 255, (count, 8, 8, 3), dtype=np.uint8)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(folder / name / f"{number}.png")
    return folder


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """Play scenes for a time.

    Returns:
        How many commands were ``tried``, and of those that should not be there ``wrong`` (exit
        codes), ``tracebacks``, ``hangs``, ``chatty`` (more or less than one line on an error),
        ``escaped`` (control characters), ``executed``.
    """
    with TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        made = Places(Path(scratch), seed)
        for number in rounds(seconds, lambda: made.found["tried"] >= enough):
            made.go(number)
    return dict(made.found)
