"""Damages files of runs, comparisons and feature caches, and asks what reads them.

Every damage has to be refused in one line that names the file, or told in a note, or make no
difference to what is read.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from watching import MANY, watched

import goodness
from goodness.clock import Clock
from goodness.comparison.entry import EntryFolder
from goodness.comparison.progress import Progress
from goodness.comparison.study import Study, Terms
from goodness.comparison.summary import summarise
from goodness.data import open_data
from goodness.errors import InputError
from goodness.network.build import build
from goodness.training.feature_cache import FeatureCache
from goodness.training.run_folder import RunFolder
from helpers import TINY, saved_weights, without_times

VALUES: dict[str, Any] = {
    **{"method": "asge-fast", "model": TINY, "per_class": 12, "batch_size": 60, "log": []},
    **{"checkpoint": {"keep": 2}, "device": "cpu", "num_threads": 1, "final_test": False},
}
CACHED: dict[str, Any] = {
    **{"model": TINY, "plan": "sequential", "presentation": "plain"},
    **{"readouts": {}, "batch_size": 60, "augment": {"crop": 0, "flip": False}},
}
IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
COPY = "copy"
Reading = Callable[[Path], Any]
"""What is asked of a copied folder; comparable."""


OFTEN = (16, 8, 32, 8, 1, 32, 32)
"""How often each place comes: a resumed training takes a second, all others some milliseconds."""


class Damages:
    """One file after another is damaged.

    Args:
        folder: of the runs and their copies.
        seed: of all draws.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed, self.copy = seed, folder / COPY
        names = ("refused", "told", "no_difference", "unnamed", "tracebacks", "silent")
        self.found = Counter(dict.fromkeys(("tried", *names), 0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.places = [*_runs(folder), *_comparison(folder), *_cache(folder)]
            self.truths = [
                reading(_copied(place, self.copy)) for place, _, reading, _ in self.places
            ]

    def go(self, number: int) -> None:
        """The damage of this number, which is always the same one."""
        draw = random.Random(f"{self.seed} {number}")
        (place,) = draw.choices(range(len(self.places)), OFTEN)
        folder, files, reading, other = self.places[place]
        copied, name = _copied(folder, self.copy), draw.choice(files)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = _try(copied, name, reading, other, self.truths[place], draw)
        self.found["tried"] += 1
        self.found[outcome] += 1


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """Damage one file after another for so long, or so many times.

    Returns:
        How many were ``tried``; of these ``refused`` in one line that names the file, ``told`` in
        a note, of ``no_difference``; and the faults: ``unnamed`` refusals, ``tracebacks``, and
        other answers in silence, ``silent``.
    """
    with TemporaryDirectory() as scratch:
        made = partial(Damages, seed=seed)
        return watched(made, Path(scratch), seconds, enough, guarded=False)


def _copied(folder: Path, copy: Path) -> Path:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    return copy


def _try(
    copy: Path, name: str, reading: Reading, other: Path, truth: Any, draw: random.Random
) -> str:
    """One damage to one file of a copy; its outcome."""
    damage = draw.choice(DAMAGES)
    # The names by which a damaged file may be called.
    names = {Path(name).name, damage(copy / name, other / name, draw)}
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        try:
            same = _equal(reading(copy), truth)
        except InputError as error:
            text = str(error)
            named = any(each and each in text for each in names) and "\n" not in text
            return "refused" if named else _fault("unnamed", name, damage, text)
        except Exception as error:
            return _fault("tracebacks", name, damage, repr(error))
    told = any(Path(name).name in str(each.message) for each in notes)
    if told:
        return "told"
    return "no_difference" if same else _fault("silent", name, damage, "")


def _fault(kind: str, name: str, damage: Callable[..., None], text: str) -> str:
    """Printed, so that who looks finds it."""
    print(f"{kind}: {damage.__name__} of {name} {text[:160]}", file=sys.stderr)
    return kind


def _equal(one: Any, other: Any) -> bool:
    """Whether two readings agree, tensors bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


# What is damaged, and what reads it.


def _runs(scratch: Path) -> Iterator[tuple[Path, list[str], Reading, Path]]:
    """A run of three epochs, and another one that differs in its seed."""
    whole, other = scratch / "whole", scratch / "other"
    for folder, seed in ((whole, 0), (other, 1)):
        goodness.fit("digits", out=folder, epochs=3, seed=seed, **VALUES)
    best = ["best/state.json", "best/network.safetensors"]
    last = [f"last/{name}.safetensors" for name in ("network", "optimizers", "totals")]
    yield whole, ["config.json", *best, "metrics.jsonl", "result.json"], _predicted, other
    yield whole, ["epochs/0002/state.json", "epochs/0002/network.safetensors"], _of_epoch_2, other
    yield whole, ["metrics.jsonl"], _history, other
    yield whole, ["result.json"], _result, other
    yield whole, ["config.json", "metrics.jsonl", "last/state.json", *last], _resumed, other


def _predicted(folder: Path) -> Any:
    return [each.to_json() for each in goodness.load(folder, device="cpu").predict([IMAGE])]


def _of_epoch_2(folder: Path) -> Any:
    run = goodness.load(folder, device="cpu", epoch=2)
    return [each.to_json() for each in run.predict([IMAGE])]


def _history(folder: Path) -> Any:
    return RunFolder(folder).history()


def _result(folder: Path) -> Any:
    return goodness.load(folder, device="cpu").result


def _resumed(folder: Path) -> Any:
    goodness.resume(folder, epochs=4)
    rows = [without_times(row) for row in RunFolder(folder).history()]
    return {**saved_weights(folder), "rows": rows}


def _comparison(scratch: Path) -> Iterator[tuple[Path, list[str], Reading, Path]]:
    """Two comparisons of one entry each, whose runs are those above."""
    for name, run in (("study", "whole"), ("studied", "other")):
        terms = Terms("digits", 1.0 if name == "study" else 2.0, "equal", values={"model": TINY})
        study = Study.create(scratch / name, terms, ["backprop"], 1)
        entry = study.folder(study.entries["backprop"])
        shutil.copytree(scratch / run, entry.runs[0].path)
        _plan(entry, 0.1 if name == "study" else 0.2)
        assert summarise(study)
    files = ["trials.json", "plan.json", "seed-0/result.json", "seed-0/metrics.jsonl"]
    entry_files = [f"backprop/{file}" for file in files]
    yield scratch / "study", ["study.json", *entry_files], _summary, scratch / "studied"


def _plan(entry: EntryFolder, lr: float) -> None:
    length = {"epochs": 1, "steps_per_epoch": 2}
    gave = {"val_accuracy": lr, "readout": "last", "seconds": 0.2, "error": None}
    entry.add_trial({"values": {"lr": lr}, **length, **gave})
    found = {"lr": {"value": lr, "at_end": False, "tried": {f"{lr:g}": lr}}}
    plan = {"trials": entry.trials, "found": found, "run": {"lr": lr}, "pace": [0.01, 0.1]}
    entry.keep_plan({**plan, "speed": {"steps_per_epoch": 2}})


def _summary(folder: Path) -> Any:
    study = Study.open(folder)
    rows, target = summarise(study)
    return [asdict(row) for row in rows], target, Progress(study, 1).line("")[:8], study.terms


def _cache(scratch: Path) -> Iterator[tuple[Path, list[str], Reading, Path]]:
    """What the first of two blocks sends on."""
    data = open_data("digits")
    train = replace(data, train=data.val)
    network = build("mono-forward", image_shape=(1, 8, 8), num_classes=10, **CACHED)
    run = Clock(0, len(train.train) // 60, 4)

    def features(folder: Path) -> Any:
        cache = FeatureCache(folder, network, train, run)
        kept = cache.open(1, lambda: None)
        order = torch.arange(len(train.train))
        return torch.cat([x for x, _ in kept.batches(60, torch.device("cpu"), order=order)])

    for name in ("features", "strange"):
        features(scratch / name)
    for file in (scratch / "strange").glob("*.bin"):
        file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))
    names = sorted(path.name for path in (scratch / "features").iterdir())
    yield scratch / "features", names, features, scratch / "strange"


# Damages: of a file, with the same file of another folder.


def flipped_bit(file: Path, other: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def other_byte(file: Path, other: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] = draw.randrange(256)
    file.write_bytes(content)


def other_digit(file: Path, other: Path, draw: random.Random) -> None:
    """What stays valid JSON."""
    content = bytearray(file.read_bytes())
    digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    content[draw.choice(digits)] = ord(draw.choice("123456789"))
    file.write_bytes(content)


def zeros(file: Path, other: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    start = draw.randrange(len(content))
    stop = min(len(content), start + draw.choice((1, 16, 512, 4096)))
    content[start:stop] = bytes(stop - start)
    file.write_bytes(content)


def cut(file: Path, other: Path, draw: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: draw.choice((0, len(content) // 2, len(content) - 1))])


def longer(file: Path, other: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes() + draw.randbytes(draw.choice((1, 8, 100))))


def noise(file: Path, other: Path, draw: random.Random) -> None:
    file.write_bytes(draw.randbytes(file.stat().st_size))


def foreign(file: Path, other: Path, draw: random.Random) -> None:
    shutil.copy(other, file)


def swapped(file: Path, other: Path, draw: random.Random) -> str | None:
    """With a neighbour of the same kind, whose name it returns: that one is damaged too."""
    copy = next(folder for folder in file.parents if folder.name == COPY)
    near = [path for path in copy.rglob(f"*{file.suffix}") if path != file]
    if not near:
        return None
    chosen = draw.choice(sorted(near))
    here, there = file.read_bytes(), chosen.read_bytes()
    file.write_bytes(there)
    chosen.write_bytes(here)
    return chosen.name


def other_json(file: Path, other: Path, draw: random.Random) -> None:
    file.write_text(json.dumps(draw.choice(([], {}, 3, None, "x", {"schema": "x"}, [[1]]))))


DAMAGES = (
    *(flipped_bit, other_byte, other_digit, zeros, cut, longer, noise, foreign, swapped),
    other_json,
)
