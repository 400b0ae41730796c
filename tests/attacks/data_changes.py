"""Changes a folder of images between a stop and the run's resumption.

Every change that would make it another training has to be refused in one line that says what has
changed; what changes nothing has to be taken.
"""

from __future__ import annotations

import os
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from watching import MANY, rounds

import goodness
from goodness.errors import InputError
from helpers import TINY

VALUES: dict[str, Any] = {
    **{"method": "asge-fast", "model": TINY, "batch_size": 12, "log": [], "device": "cpu"},
    **{"num_threads": 1, "final_test": False, "augment": {"crop": 0, "flip": False}},
}
CLASSES = ("ant", "bee", "cow")
IMAGES = 14
"""Of each class and part."""


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """Change the data and resume, for so long.

    Returns:
        How many changes were ``tried``; of these ``refused`` with the words that say what changed,
        and ``taken`` as they change nothing; and the faults: ``accepted`` in silence, ``unclear``
        refusals, harmless ones that were ``refused_harmless``, and ``tracebacks``.
    """
    draw = random.Random(seed)
    names = ("tried", "refused", "taken", "accepted", "unclear", "refused_harmless", "tracebacks")
    found = Counter(dict.fromkeys(names, 0))
    with TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = {split: _trained(Path(scratch) / kind, split) for kind, split in LAYOUTS.items()}
        for number in rounds(seconds, lambda: found["tried"] >= enough):
            whole = kinds[bool(number % 2)]
            change, words = CHANGES[(number // 2) % len(CHANGES)]
            found["tried"] += 1
            found[_try(whole, change, words, draw)] += 1
    return dict(found)


LAYOUTS = {"split": True, "flat": False}
"""With parts of their own, or with classes directly below the folder."""


def _trained(folder: Path, split: bool) -> Path:
    """A folder that holds data and a run on it that may go on; data are in ``photos``."""
    pixels = np.random.default_rng(0)
    for part in ("train", "test") if split else (".",):
        for number, name in enumerate(CLASSES):
            place = folder / "photos" / part / name
            place.mkdir(parents=True)
            for image in range(IMAGES):
                drawn = pixels.integers(0, 200, (8, 8), np.uint8) + np.uint8(20 * number)
                Image.fromarray(drawn).save(place / f"{image:03d}.bmp")
    goodness.fit(str(folder / "photos"), out=folder / "run", epochs=1, **VALUES)
    return folder


def _try(
    whole: Path, change: Callable[[Path, random.Random], None], words: str, draw: random.Random
) -> str:
    # The run knows its data by an absolute path.
    photos, run = whole / "photos", whole / "resumed"
    kept = whole / "kept"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(whole / "run", run)
    shutil.copytree(photos, kept)
    try:
        change(photos / "train" if (photos / "train").exists() else photos, draw)
        goodness.resume(run, epochs=2)
        return _fault("accepted", change, "") if words else "taken"
    except InputError as error:
        if not words:
            return _fault("refused_harmless", change, str(error))
        text = str(error)
        clear = all(word in text for word in words.split()) and "\n" not in text
        return "refused" if clear else _fault("unclear", change, text)
    except Exception as error:
        return _fault("tracebacks", change, repr(error))
    finally:
        shutil.rmtree(photos)
        kept.rename(photos)


def _fault(kind: str, change: Callable[..., None], text: str) -> str:
    """Printed, so that who looks finds it."""
    print(f"{kind}: {change.__name__} {text[:200]}")
    return kind


def renamed_class(train: Path, draw: random.Random) -> None:
    (train / "bee").rename(train / "wasp")
    if (test := train.parent / "test" / "bee").exists():
        test.rename(test.with_name("wasp"))


def traded_names(train: Path, draw: random.Random) -> None:
    for part in (train, *(train.parent.glob("test"))):
        for old, new in (("ant", "spare"), ("bee", "ant"), ("spare", "bee")):
            (part / old).rename(part / new)


def replaced_images(train: Path, draw: random.Random) -> None:
    for file in train.rglob("*.bmp"):
        pixels = np.frombuffer(draw.randbytes(64), np.uint8).reshape(8, 8)
        Image.fromarray(pixels).save(file)


def replaced_image(train: Path, draw: random.Random) -> None:
    file = draw.choice(sorted((train / "bee").glob("*.bmp")))
    pixels = np.frombuffer(draw.randbytes(64), np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(file)


def more_images(train: Path, draw: random.Random) -> None:
    for name in ("014", "000b"):
        shutil.copy(train / "cow" / "000.bmp", train / "cow" / f"{name}.bmp")


def fewer_images(train: Path, draw: random.Random) -> None:
    draw.choice(sorted((train / "ant").glob("*.bmp"))).unlink()


def moved_image(train: Path, draw: random.Random) -> None:
    draw.choice(sorted((train / "ant").glob("*.bmp"))).rename(train / "bee" / "new.bmp")


def other_order(train: Path, draw: random.Random) -> None:
    (train / "cow" / "000.bmp").rename(train / "cow" / "last.bmp")


def one_flipped_bit(train: Path, draw: random.Random) -> None:
    file = draw.choice(sorted((train / "bee").glob("*.bmp")))
    content = bytearray(file.read_bytes())
    content[-draw.randrange(1, 64)] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def added_class(train: Path, draw: random.Random) -> None:
    shutil.copytree(train / "ant", train / "dog")


def other_times(train: Path, draw: random.Random) -> None:
    for file in train.rglob("*.bmp"):
        os.utime(file, (draw.randrange(10**9), draw.randrange(10**9)))


def other_files(train: Path, draw: random.Random) -> None:
    (train / "cow" / "notes.txt").write_text("no image")
    (train / "cow" / ".hidden.bmp").write_bytes(b"left behind by a tool")


CHANGES: tuple[tuple[Callable[[Path, random.Random], None], str], ...] = (
    (renamed_class, "bee wasp"),
    (traded_names, "ant bee"),
    (replaced_images, "images"),
    (replaced_image, "bee"),
    (more_images, "cow 14 16"),
    (fewer_images, "ant 14 13"),
    (moved_image, "ant bee"),
    (other_order, "cow"),
    (one_flipped_bit, "bee"),
    (added_class, "dog"),
    (other_times, ""),
    (other_files, ""),
)
"""With the words that a refusal has to say; none where nothing is changed."""
