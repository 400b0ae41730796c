"""Ranks of a parallel run that are killed: the others end by themselves, and the run goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist
from children import Child
from kills import ALWAYS, outcome
from watching import MANY, rounds

TRAIN = (
    *("train", "--quiet", "--method", "asge-fast", "--per-class", "12", "--batch-size", "24"),
    *("--epochs", "3", "--set", "readouts={fusion: {}}", "--optimizer", "muon"),
)
MODEL = "model={{name: small-cnn, widths: [8, 8, 8], pools: [1], norm: {norm}}}"
KINDS = {
    "layers": ("--parallel", "layers", "--set", MODEL.format(norm="batch"), "--ema", "0.9"),
    "data": ("--parallel", "data", "--set", MODEL.format(norm="none")),
}
OPTIONS = ((), ALWAYS)
NOTICED = 20.0
"""Seconds in which the others notice that one is gone; most take a few."""


class Ranks:
    """Parallel runs, and what has been found.

    Args:
        folder: of the runs.
        seed: of all draws.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        faults = ("lost", "stuck", "different", "tracebacks", "hangs", "chatty", "wrong")
        self.found = Counter(
            tried=0, layers=0, data=0, before_they_met=0, **dict.fromkeys(faults, 0)
        )
        self.slowest = 0.0
        self.whole: dict[tuple[object, ...], tuple[object, float]] = {}

    def started(self, count: int, args: list[str | Path]) -> list[Child]:
        """So many ranks."""
        # As with torchrun, the store outlives the ranks.
        self.store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        return [Child(args, self.folder, first=self._placed(rank, count)) for rank in range(count)]

    def _placed(self, rank: int, count: int) -> Callable[[], None]:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self.store.port}

        def first() -> None:
            os.environ |= {key: str(value) for key, value in {**place, **address}.items()}
            os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"

        return first

    def ended(self, count: int, args: list[str | Path]) -> str:
        """Ranks that nobody disturbs; what they say, empty if all is well."""
        ranks = self.started(count, args)
        codes = [rank.wait() for rank in ranks]
        self.found["hangs"] += any(rank.hung for rank in ranks)
        self.found["tracebacks"] += any(rank.traceback for rank in ranks)
        return "" if not any(codes) else f"{codes} {''.join(rank.said for rank in ranks)}"

    def once(self) -> None:
        """One rank is killed, and the run is resumed."""
        kind, options = self.random.choice(list(KINDS)), self.random.choice(OPTIONS)
        count = self.random.choice((2, 3)) if kind == "layers" else 2
        args = [*TRAIN, *KINDS[kind], *options]
        place = self.folder / "run"
        key = (kind, count, options)
        if key not in self.whole:
            begun, whole = time.monotonic(), self.folder / "whole"
            shutil.rmtree(whole, ignore_errors=True)
            said = self.ended(count, [*args, "--out", whole])
            assert not said, said
            self.whole[key] = (outcome(whole), time.monotonic() - begun)
        whole, seconds = self.whole[key]
        shutil.rmtree(place, ignore_errors=True)
        ranks = self.started(count, [*args, "--out", place])
        time.sleep(self.random.uniform(0, seconds))
        met = (place / "config.json").exists()
        victim = self.random.choice(ranks)
        victim.send(signal.SIGKILL)
        if victim.wait() == -signal.SIGKILL:
            self.found["tried"] += 1
            self.found[kind] += 1
            self.left([rank for rank in ranks if rank is not victim], met, str(key))
        for rank in ranks:
            rank.wait()
        resume = ["train", "--resume", place, "--parallel", kind]
        said = self.ended(
            count, resume if (place / "config.json").exists() else [*args, "--out", place]
        )
        if said and "has finished" not in said:
            self.fault("stuck", True, f"{key} {said}")
            return
        try:
            self.fault("different", outcome(place) != whole, str(key))
        except (OSError, ValueError) as error:
            self.fault("lost", True, f"{key} {error}")

    def left(self, ranks: list[Child], met: bool, what: str) -> None:
        """The others have to end, and to say why in one line in all.

        Args:
            ranks: those that are left.
            met: whether they were training; before that torchrun ends them, as here.
            what: is trained.
        """
        self.found["before_they_met"] += not met
        begun = time.monotonic()
        while met and time.monotonic() - begun < NOTICED and not all(r.has_ended for r in ranks):
            time.sleep(0.02)
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.fault("hangs", met and not all(rank.has_ended for rank in ranks), what)
        for rank in ranks:
            rank.send(signal.SIGTERM)
        codes = [rank.wait(NOTICED) for rank in ranks]
        said = "".join(rank.said for rank in ranks)
        self.fault("tracebacks", any(rank.traceback for rank in ranks), f"{what} {said}")
        if met and any(codes):
            lines = [line for line in said.splitlines() if line.strip()]
            # Who has delivered its last part is done, whatever becomes of the others.
            self.fault("chatty", len(lines) != 1, f"{what} {codes} {said}")
            self.fault("wrong", not set(codes) <= {0, 1}, f"{what} {codes} {said}")

    def fault(self, name: str, there: bool, what: str) -> None:
        """Count one, and say where."""
        self.found[name] += there
        if there:
            print(f"{name}: {what}", file=sys.stderr, flush=True)


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """Kill ranks for so long, or so many."""
    with tempfile.TemporaryDirectory() as folder:
        ranks = Ranks(Path(folder), seed)
        for _ in rounds(seconds, lambda: ranks.found["tried"] >= enough):
            ranks.once()
    return {**ranks.found, "slowest_ms": int(1000 * ranks.slowest)}
