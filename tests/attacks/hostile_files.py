"""Files and texts that somebody made to break, to hang or to run something."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import materials
import numpy as np
import torch
from safetensors.torch import save
from watching import MANY, try_one, watched

from goodness import api
from goodness.checksums import checksum, write_sealed
from goodness.cli.values import gather, read_config
from goodness.config import resolve
from goodness.data import Preprocessing, open_data
from goodness.models.weights import load_weights, read_weights
from goodness.training.run_folder import RunFolder

PREPROCESSING = Preprocessing(
    channels=3, height=8, width=8, mean=[0.5] * 3, std=[0.5] * 3, classes=["a", "b"]
)
READ = ("config.json", "best/state.json", "metrics.jsonl", "result.json")
"""Files of a run that are changed."""
MODEL = {"name": "small-cnn", "widths": [4, 4], "pools": []}


class Harm:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


class Attack:
    """One kind of input after another, in a folder of its own.

    Args:
        folder: what is written goes here.
        seed: of all draws.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng, self.seed = random.Random(seed), seed
        self.folder, self.mark = folder, folder / "executed"
        self.found: Counter[str] = Counter()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)
        )
        self.images = materials.images()
        self.parquet = materials.parquet()
        self.tensors = save({"0.weight": torch.zeros(4, 1, 3, 3), "0.bias": torch.zeros(4)})
        self.run = _run(folder / "run")
        self.files = {name: (self.run / name).read_bytes() for name in READ}

    kinds = (
        *(*["image"] * 12, "bomb", "special", "parquet", "parquet", *["idx"] * 3, "cifar"),
        *(*["safetensors"] * 6, *["pth"] * 3, *["yaml"] * 6, *["setting"] * 6),
        *("stored", "stored", "forged"),
    )

    def go(self, number: int) -> None:
        """Try the input of this number, which is always the same one."""
        self.rng.seed(f"{self.seed} {number}")
        kind = self.kinds[number % len(self.kinds)]
        getattr(self, f"_{kind}")(f"{kind} {number}")
        if self.mark.exists():
            self.found["executed"] += 1
            print(f"executed: {kind} {number}", file=sys.stderr)
            self.mark.unlink()

    def _try(self, action: Callable[[], object], title: str) -> None:
        try_one(action, self.found, title)

    # Images

    def _image(self, title: str) -> None:
        kind = self.rng.choice(list(self.images))
        file = self.folder / f"image.{kind}"
        file.write_bytes(self._spoilt(self.images[kind]))
        self._try(lambda: PREPROCESSING.load(file), f"{title} {kind}")

    def _bomb(self, title: str) -> None:
        file = self.folder / "bomb.png"
        side = self.rng.choice([13_000, 20_000, 46_000, 2**31 - 1])
        what = self.rng.choice(["png", "ppm", "bmp", "gif"])
        if what == "png":
            rows = zlib.compress(b"\0" * min(side, 2**20) * 64)
            file.write_bytes(materials.png(side, side, rows))
        elif what == "ppm":
            file.write_bytes(b"P6 %d %d 255\n" % (side, side))
        elif what == "gif":
            small = min(side, 65_535)
            file.write_bytes(b"GIF89a" + struct.pack("<HH", small, small) + self.images["gif"][10:])
        else:
            header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
            file.write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header)
        self._try(lambda: PREPROCESSING.load(file), f"{title} {what} {side}")

    def _special(self, title: str) -> None:
        """What is no file, wherever a file goes."""
        place = self.folder / "special"
        place.unlink(missing_ok=True)
        how = self.rng.choice(["fifo", "device", "zero", "folder", "gone"])
        if how == "fifo":
            os.mkfifo(place)
        elif how == "device":
            place.symlink_to("/dev/full")
        elif how == "zero":
            place.symlink_to("/dev/zero")
        elif how == "folder":
            place.symlink_to(self.folder)
        uses: dict[str, Callable[[Path], object]] = {"image": PREPROCESSING.load}
        if how != "folder":  # of a run, which is another matter
            uses["weights"] = read_weights
        if how != "fifo":  # what <(...) of a shell is
            uses["config"] = read_config
        name, use = self.rng.choice(list(uses.items()))
        self._try(lambda: use(place), f"{title} {how} as {name}")

    # Data sets

    def _parquet(self, title: str) -> None:
        folder = self.folder / "parquet"
        folder.mkdir(exist_ok=True)
        how = self.rng.choice([*("bytes", "columns", "names", "images") * 12, "bomb"])
        file = folder / "train-0.parquet"
        if how == "bytes":
            file.write_bytes(self._spoilt(self.parquet))
        elif how == "columns":
            file.write_bytes(
                materials.parquet(
                    self.rng.choice(materials.ODD_COLUMNS), self.rng.choice(materials.ODD_LABELS)
                )
            )
        elif how == "bomb":
            rows = self.rng.choice([2000, 50_000])
            zeros = [b"\0" * (2 * 10**9 // rows)]
            file.write_bytes(materials.parquet(zeros, [0, 1], times=rows // 2))
        elif how == "names":
            text = self.rng.choice(['{"info": 3}', "[" * 10**5, '{"info":{"features":[]}}', "\xff"])
            file.write_bytes(materials.parquet(names=text))
        else:
            images = [self._spoilt(self.images["png"]) for _ in range(20)]
            file.write_bytes(materials.parquet(images, [0, 1] * 10))
        self._try(lambda: open_data(folder, image_size=8), f"{title} {how}")

    def _idx(self, title: str) -> None:
        root = self.folder / "mnist"
        raw = root / "MNIST" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        files = materials.idx_files()
        names = list(files)
        for _ in range(self.rng.randint(1, 3)):
            one, other = self.rng.sample(names, 2)
            how = self.rng.choice(["swap", "spoil", "empty", "random", "copy"])
            if how == "swap":
                files[one], files[other] = files[other], files[one]
            elif how == "copy":
                files[one] = files[other]
            elif how == "spoil":
                files[one] = self._spoilt(files[one])
            else:
                files[one] = b"" if how == "empty" else self.rng.randbytes(100)
        for name, content in files.items():
            (raw / name).write_bytes(content)
        self._try(lambda: open_data("mnist", data_root=root), title)

    def _cifar(self, title: str) -> None:
        root = self.folder / "cifar"
        name = self.rng.choice(["cifar10", "cifar100"])
        folder = root / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
        folder.mkdir(parents=True, exist_ok=True)
        for batch in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "train", "test"):
            content = self.rng.choice([b"", self.rng.randbytes(100), pickle.dumps(Harm(self.mark))])
            (folder / batch).write_bytes(content)
        self._try(lambda: open_data(name, data_root=root), f"{title} {name}")

    # Weights

    def _safetensors(self, title: str) -> None:
        file = self.folder / "weights.safetensors"
        if self.rng.random() < 0.7:
            content = self._spoilt(self.tensors)
        else:
            kind = self.rng.choice(["F4", "F8_E8M0", "C64", "F32", "BOOL", "U64", "BF16"])
            shape = self.rng.choice([[4, 1, 3, 3], [0], [2**40, 0], [2**62, 4], [-1], []])
            tensor = {"dtype": kind, "shape": shape, "data_offsets": [0, self.rng.choice([0, 144])]}
            header = json.dumps({"0.weight": tensor, "0.bias": tensor}).encode()
            content = struct.pack("<Q", len(header)) + header + bytes(144)
        file.write_bytes(content)
        self._try(lambda: load_weights(self.net, read_weights(file), "the file"), title)

    def _pth(self, title: str) -> None:
        file = self.folder / "weights.pth"
        how = self.rng.choice([*materials.ODD_STATES, "bytes", "bytes", "harm", "bomb"])
        if how == "bytes":
            file.write_bytes(self._spoilt(materials.saved(self.net.state_dict())))
        elif how == "harm":
            file.write_bytes(materials.saved({"0.weight": Harm(self.mark)}))
        elif how == "bomb":
            file.write_bytes(materials.weights_bomb())
        else:
            changed = materials.ODD_STATES[how](self.net.state_dict())
            file.write_bytes(materials.saved(changed))
        self._try(lambda: load_weights(self.net, read_weights(file), "the file"), f"{title} {how}")

    # Configurations

    def _yaml(self, title: str) -> None:
        file = self.folder / "mine.yaml"
        odd = self.rng.choice(materials.ODD_YAML)
        text = self.rng.choice([self._document, self._lines] * 4 + [lambda: odd])()
        file.write_bytes(text.encode(errors="surrogatepass"))
        self._try(lambda: _resolved(gather({}, {}, file)), f"{title} {text[:60]!r}")

    def _setting(self, title: str) -> None:
        key = self.rng.choice([*materials.KEYS, self.rng.choice(materials.ODD_NAMES)])
        text = f"{key}={self._value(2)}"
        model = self.rng.choice(["timm/resnet18", "torchvision/resnet18", "small-cnn", "vgg8"])
        if self.rng.random() < 0.6:
            call = lambda: _resolved(gather({}, {}, settings=[text]))  # noqa: E731
        else:
            call = lambda: _built(gather({"model": model}, {}, model_arg=[text]))  # noqa: E731
        self._try(call, f"{title} {text[:80]!r}")

    def _stored(self, title: str) -> None:
        """A run folder of somebody else."""
        weights = self.folder / "harm.bin"
        weights.write_bytes(materials.saved(Harm(self.mark)))
        self._restore()
        config = json.loads(self.files["config.json"])
        name = self.rng.choice(materials.READING)
        value = self.rng.choice([str(weights), weights.as_uri(), {"file": str(weights)}])
        model = self.rng.choice(["timm/test_resnet", "torchvision/squeezenet1_1"])
        config["model"] = {"name": model, "args": {name: value}, "stem": "own"}
        (self.run / "config.json").write_text(json.dumps(config))
        with _opened(weights) as opened:
            self._try(lambda: api.load(self.run, device="cpu"), f"{title} {config['model']}")
        if opened:
            self.found["read"] += 1
            print(f"read: {title} {config['model']}", file=sys.stderr)

    def _forged(self, title: str) -> None:
        """A run folder with an odd value somewhere, and checksums that fit all the same."""
        self._restore()
        name = self.rng.choice(READ)
        content = json.loads(
            self.files[name].splitlines()[0] if "jsonl" in name else self.files[name]
        )
        what = self._changed(content)
        del content["checksum"]
        run = json.loads(self.files["config.json"])["run"]
        if name == "metrics.jsonl":
            line = json.dumps({**content, "checksum": checksum(content, run)})
            (self.run / name).write_text(f"{line}\n")
        else:
            write_sealed(self.run / name, content, run if name == "result.json" else "")
        self._try(lambda: _used(self.run), f"{title} {name} {what}")

    def _restore(self) -> None:
        for name, content in self.files.items():
            (self.run / name).write_bytes(content)

    # Draws

    def _changed(self, content: Any) -> str:
        """Change one place of JSON content; which one, and how."""
        # Who asks for it lets torch compile, into a cache of its own, for a minute.
        left = ("checksum", "compile")
        places = [place for place in _places(content) if place[1] not in left]
        where, key = self.rng.choice(places)
        if self.rng.random() < 0.2:
            del where[key]
            return f"without {key!r}"
        where[key] = self.rng.choice(materials.ODD_JSON)
        return f"{key!r}: {str(where[key])[:60]!r}"

    def _spoilt(self, content: bytes) -> bytes:
        """A file's bytes with a few changes."""
        made = bytearray(content)
        for _ in range(self.rng.choice([1, 1, 2, 5, 30])):
            place = self.rng.randrange(max(1, len(made)))
            how = self.rng.randrange(6)
            if how == 0:
                made[place : place + 1] = self.rng.randbytes(1)
            elif how == 1:
                made[place : place + 4] = self.rng.choice(
                    [b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"]
                )
            elif how == 2:
                del made[place:]
            elif how == 3:
                del made[place : place + self.rng.randrange(64)]
            elif how == 4:
                made[place:place] = self.rng.randbytes(self.rng.randrange(64))
            else:
                other = self.rng.randrange(max(1, len(made)))
                made[place : place + 16] = made[other : other + 16]
        return bytes(made)

    def _document(self) -> str:
        return "\n".join(f"{self.rng.choice(materials.KEYS)}: {self._value(3)}" for _ in range(3))

    def _lines(self) -> str:
        signs = "[]{}&*!|>%@`'\"#:-?,. \t\n\r\0\x85\ud800abc0129ex_~<"
        return "".join(self.rng.choice(signs) for _ in range(self.rng.randrange(200)))

    def _value(self, depth: int) -> str:
        """A value, as YAML in one line."""
        if depth and self.rng.random() < 0.3:
            inner = ", ".join(self._value(depth - 1) for _ in range(self.rng.randrange(4)))
            return f"[{inner}]"
        if depth and self.rng.random() < 0.3:
            names = (*materials.ODD_NAMES, *materials.KEYS)
            pairs = (
                f"{self.rng.choice(names)}: {self._value(depth - 1)}"
                for _ in range(self.rng.randrange(3))
            )
            return f"{{{', '.join(pairs)}}}"
        return self.rng.choice(materials.ODD_VALUES)


def attack(seconds: float, seed: int, enough: int = MANY) -> dict[str, int]:
    """Try inputs for a time, in processes that are watched.

    Returns:
        How many were ``tried``, ``taken`` and ``refused``, and of those that should not be there
        ``tracebacks``, ``hangs``, ``crashes``, ``warnings``, ``several_lines``,
        ``too_much_memory``, ``executed``, ``read`` (files that a stored configuration names) and
        ``outside`` (files written elsewhere).
    """
    with TemporaryDirectory() as scratch:
        return watched(lambda folder: Attack(folder, seed), Path(scratch), seconds, enough)


@contextmanager
def _opened(file: Path) -> Iterator[list[str]]:
    """Notes every time that a file is opened."""
    if not _WATCHED:
        sys.addaudithook(_note)  # it stays for good
    _WATCHED[str(file)] = []
    yield _WATCHED[str(file)]
    _WATCHED[str(file)] = []


_WATCHED: dict[str, list[str]] = {}


def _note(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and isinstance(args[0], str | os.PathLike):
        _WATCHED.get(os.fspath(args[0]), []).append(event)


def _resolved(values: dict[str, Any]) -> None:
    """All that a configuration goes through before anything is trained."""
    config = resolve(values)
    json.dumps(config.model_dump(mode="json"), allow_nan=True)


def _built(values: dict[str, Any]) -> None:
    from goodness.models import MODELS

    config = resolve(values)
    if config.model["name"] != "vgg8":
        MODELS.make(config.model, (3, 32, 32), 4)


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of JSON content: what it is in, and its key or number there."""
    keys = list(content) if isinstance(content, dict) else range(len(content))
    for key in keys:
        yield content, key
        if isinstance(content[key], dict | list):
            yield from _places(content[key])


def _used(folder: Path) -> None:
    """What a run folder is asked for."""
    run = api.load(folder, device="cpu")
    run.predict([np.zeros((8, 8, 1), np.uint8)])
    RunFolder(folder).history()
    str(run.result)


def _run(folder: Path) -> Path:
    """The folder of a run that was stopped after an epoch."""
    api.fit(
        "digits", method="sff", model=MODEL, epochs=1, per_class=8, batch_size=16, out=folder,
        final_test=False, log=[],
    )  # fmt: skip
    return folder
