"""Files and texts that somebody made to break, to hang or to run something."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save
from watching import no_network, try_one

from goodness import api
from goodness.cli.values import gather, read_config
from goodness.config import resolve
from goodness.data import Preprocessing, open_data
from goodness.models.weights import load_weights, read_weights

PREPROCESSING = Preprocessing(
    channels=3, height=8, width=8, mean=[0.5] * 3, std=[0.5] * 3, classes=["a", "b"]
)
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
        self.rng = random.Random(seed)
        self.folder, self.mark = folder, folder / "executed"
        self.found: Counter[str] = Counter()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)
        )
        self.images = _images()
        self.parquet = _parquet()
        self.tensors = save({"0.weight": torch.zeros(4, 1, 3, 3), "0.bias": torch.zeros(4)})
        self.run = _run(folder / "run")
        self.config = json.loads((self.run / "config.json").read_text())

    kinds = (
        *("image", "image", "image", "image", "bomb", "special", "parquet", "parquet"),
        *("idx", "cifar", "safetensors", "pth", "pth", "yaml", "yaml", "setting", "stored"),
    )

    def go(self, number: int) -> None:
        """Try the input of this number."""
        kind = self.kinds[number % len(self.kinds)]
        getattr(self, f"_{kind}")(f"{kind} {number}")
        if self.mark.exists():
            self.found["executed"] += 1
            print(f"executed: {kind} {number}")
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
            file.write_bytes(_png(side, side, rows))
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
        how = self.rng.choice(["bytes", "bytes", "columns", "columns", "names", "images", "bomb"])
        file = folder / "train-0.parquet"
        if how == "bytes":
            file.write_bytes(self._spoilt(self.parquet))
        elif how == "columns":
            file.write_bytes(_parquet(self.rng.choice(_ODD_COLUMNS), self.rng.choice(_ODD_LABELS)))
        elif how == "bomb":
            rows = self.rng.choice([2000, 50_000])
            file.write_bytes(_parquet([b"\0" * (2 * 10**9 // rows)], [0, 1], times=rows // 2))
        elif how == "names":
            text = self.rng.choice(['{"info": 3}', "[" * 10**5, '{"info":{"features":[]}}', "\xff"])
            file.write_bytes(_parquet(names=text))
        else:
            images = [self._spoilt(self.images["png"]) for _ in range(20)]
            file.write_bytes(_parquet(images, [0, 1] * 10))
        self._try(lambda: open_data(folder, image_size=8), f"{title} {how}")

    def _idx(self, title: str) -> None:
        root = self.folder / "mnist"
        raw = root / "MNIST" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        files = _idx_files()
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
        how = self.rng.choice([*_ODD_STATES, "bytes", "bytes", "harm", "bomb"])
        if how == "bytes":
            file.write_bytes(self._spoilt(_saved(self.net.state_dict())))
        elif how == "harm":
            file.write_bytes(_saved({"0.weight": Harm(self.mark)}))
        elif how == "bomb":
            file.write_bytes(_weights_bomb())
        else:
            changed = _ODD_STATES[how](self.net.state_dict())
            file.write_bytes(_saved(changed))
        self._try(lambda: load_weights(self.net, read_weights(file), "the file"), f"{title} {how}")

    # Configurations

    def _yaml(self, title: str) -> None:
        file = self.folder / "mine.yaml"
        text = self.rng.choice([self._document, self._lines, lambda: self.rng.choice(_ODD_YAML)])()
        file.write_bytes(text.encode(errors="surrogatepass"))
        self._try(lambda: _resolved(gather({}, {}, file)), f"{title} {text[:60]!r}")

    def _setting(self, title: str) -> None:
        key = self.rng.choice([*_KEYS, self.rng.choice(_ODD_NAMES)])
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
        weights.write_bytes(_saved(Harm(self.mark)))
        config = json.loads(json.dumps(self.config))
        name = self.rng.choice(_READING)
        value = self.rng.choice([str(weights), weights.as_uri(), {"file": str(weights)}])
        model = self.rng.choice(["timm/test_resnet", "torchvision/squeezenet1_1"])
        config["model"] = {"name": model, "args": {name: value}, "stem": "own"}
        (self.run / "config.json").write_text(json.dumps(config))
        with _opened(weights) as opened:
            self._try(lambda: api.load(self.run, device="cpu"), f"{title} {config['model']}")
        if opened:
            self.found["read"] += 1
            print(f"read: {title} {config['model']}", file=sys.stderr)

    # Draws

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
        return "\n".join(f"{self.rng.choice(_KEYS)}: {self._value(3)}" for _ in range(3))

    def _lines(self) -> str:
        signs = "[]{}&*!|>%@`'\"#:-?,. \t\n\r\0\x85\ud800abc0129ex_~<"
        return "".join(self.rng.choice(signs) for _ in range(self.rng.randrange(200)))

    def _value(self, depth: int) -> str:
        """A value, as YAML in one line."""
        if depth and self.rng.random() < 0.3:
            inner = ", ".join(self._value(depth - 1) for _ in range(self.rng.randrange(4)))
            return f"[{inner}]"
        if depth and self.rng.random() < 0.3:
            pairs = (
                f"{self.rng.choice([*_ODD_NAMES, *_KEYS])}: {self._value(depth - 1)}"
                for _ in range(self.rng.randrange(3))
            )
            return f"{{{', '.join(pairs)}}}"
        return self.rng.choice(_ODD_VALUES)


def attack(seconds: float, seed: int) -> dict[str, int]:
    """Try inputs for a time.

    Returns:
        How many were ``tried``, ``taken`` and ``refused``, and of those that should not be there
        ``tracebacks``, ``hangs``, ``warnings``, ``several_lines``, ``too_much_memory``,
        ``executed``, ``read`` (files that a stored configuration names) and ``outside`` (files
        written elsewhere).
    """
    with TemporaryDirectory() as scratch, no_network():
        folder = Path(scratch) / "inside"
        folder.mkdir()
        made = Attack(folder, seed)
        _count(made, time.monotonic() + seconds)
        made.found["outside"] += len(list(Path(scratch).iterdir())) - 1
    bad = (
        "tracebacks",
        "hangs",
        "warnings",
        "several_lines",
        "too_much_memory",
        "executed",
        "read",
    )
    return {**dict.fromkeys(bad, 0), **made.found}


def _count(made: Attack, until: float) -> None:
    number = 0
    while time.monotonic() < until:
        made.go(number)
        number += 1


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


def _run(folder: Path) -> Path:
    """The folder of a run that was stopped after an epoch."""
    api.fit(
        "digits", method="sff", model=MODEL, epochs=1, per_class=8, batch_size=16, out=folder,
        final_test=False, log=[],
    )  # fmt: skip
    return folder


def _images() -> dict[str, bytes]:
    """A small image of every format, and of some modes."""
    picture = Image.effect_noise((24, 16), 60).convert("RGB")
    made = {}
    for name in ("png", "jpeg", "webp", "bmp", "gif", "ppm", "tiff"):
        file = io.BytesIO()
        picture.save(file, name, **({"exif": _exif()} if name in ("jpeg", "png", "webp") else {}))
        made[name] = file.getvalue()
    for name, kwargs in (("jpeg", {"progressive": True}), ("tiff", {"compression": "tiff_lzw"})):
        file = io.BytesIO()
        picture.save(file, name, **kwargs)
        made[f"other.{name}"] = file.getvalue()
    for mode in ("P", "LA", "I;16", "1"):
        file = io.BytesIO()
        picture.convert("L").convert(mode).save(file, "png")
        made[f"{mode.replace(';', '')}.png"] = file.getvalue()
    return made


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def _parquet(
    images: list[Any] | None = None,
    labels: list[Any] | None = None,
    names: str | None = None,
    times: int = 10,
) -> bytes:
    """A Parquet file in the layout of the hub."""
    if images is None:
        images = []
        for shade in (0, 200):
            file = io.BytesIO()
            Image.new("L", (8, 8), shade).save(file, "png")
            images.append(file.getvalue())
    labels = [0, 1] if labels is None else labels
    count = len(labels) * times if times > 1 else len(labels)
    column = [{"bytes": image, "path": None} for image in images]
    if times > 1 and all(isinstance(image, bytes) for image in images):
        # One copy in memory; as a dictionary in the file.
        index = pa.array(np.arange(count) % len(images), pa.int32())
        values = pa.DictionaryArray.from_arrays(index, pa.array(images, pa.large_binary()))
        struct_ = pa.StructArray.from_arrays([values], ["bytes"])
    else:
        struct_ = pa.array([column[n % len(column)] for n in range(count)])
    table = pa.table({"image": struct_, "label": pa.array((labels * times)[:count])})
    if names is not None:
        table = table.replace_schema_metadata({"huggingface": names})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", store_schema=False)
    return file.getvalue()


def _idx_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    made = {}
    for part, count in (("train", 60), ("t10k", 20)):
        pixels = rng.integers(256, size=(count, 28, 28), dtype=np.uint8).tobytes()
        made[f"{part}-images-idx3-ubyte"] = struct.pack(">IIII", 2051, count, 28, 28) + pixels
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        made[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 2049, count) + labels
    return made


def _saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@cache
def _weights_bomb() -> bytes:
    """An archive of few bytes that holds 160 MB, compressed, as torch itself never writes one."""
    content = _saved({"0.weight": torch.zeros(4 * 10**7)})
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return file.getvalue()


State = dict[str, Any]
_W = "0.weight"
_ODD_STATES: dict[str, Callable[[State], Any]] = {
    "sparse": lambda s: {**s, _W: s[_W].to_sparse()},
    "csr": lambda s: {**s, "2.weight": s["2.weight"].to_sparse_csr()},
    "quantised": lambda s: {**s, _W: torch.quantize_per_tensor(s[_W], 0.1, 0, torch.qint8)},
    "meta": lambda s: {**s, _W: s[_W].to("meta")},
    "complex": lambda s: {**s, _W: s[_W].to(torch.complex64)},
    "bool": lambda s: {**s, _W: s[_W] > 0},
    "float8": lambda s: {**s, _W: s[_W].to(torch.float8_e4m3fn)},
    "scalar": lambda s: {**s, _W: torch.tensor(1.0)},
    "expanded": lambda s: {**s, _W: torch.zeros(1).expand(4, 10**6, 3, 3)},
    "colour": lambda s: {**s, _W: torch.zeros(1).expand(10**6, 3, 10**2, 10**2)},
    "nan": lambda s: {**s, _W: s[_W] * float("nan")},
    "numbers": lambda s: {0: s[_W]},
    "list": lambda s: [s[_W]],
    "tensor": lambda s: s[_W],
    "nested": lambda s: {"state_dict": s},
    "none": lambda s: {**s, _W: None},
    "more": lambda s: {**s, "\x1b[31m\nx": s[_W]},
    "empty": lambda s: {},
    "many": lambda s: {f"{n}.weight": s[_W] for n in range(10_000)},
}
_READING = (
    *("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "weights", "pretrained"),
    *("weights_backbone", "cache_dir", "file", "url", "hf_hub_id", "state_dict", "features_only"),
)
_ODD_COLUMNS: list[list[Any]] = [[3, 4], ["a", "b"], [None, None], [{"x": 1}, {"x": 2}], [[1], [2]]]
_ODD_LABELS: list[list[Any]] = [
    *([0, 1], [-1, 1], [0, 2**62], [0, None], ["a", "b"], [0.5, 1.0], [True, False], []),
]
_KEYS = (
    *("method", "epochs", "batch_size", "image_size", "model", "model.widths", "model.args", "lr"),
    *("augment", "augment.crop", "objective", "optimizer", "optimizer.args", "lr_schedule", "plan"),
    *("class_names", "readouts", "readouts.linear", "early_stopping", "checkpoint", "seed", "data"),
    *("label_smoothing", "class_weights", "lr_factors", "freeze_until", "partition", "log", "ema"),
    *("data_root", "init_from", "feature_cache", "num_threads", "device", "presentation", "update"),
)
_ODD_NAMES = ("", "x", "name", "0", "true", "null", "2024-01-01", "é", "__class__", "a b", "~", "*")
_ODD_VALUES = (
    *("2024-01-01", "2024-13-45", "0x1F", "0xFFFFFFFFFFFFFFFFFFFFFFFF", "0b11", "1e400", ".nan"),
    *(
        ".inf",
        "-.inf",
        "1_000",
        "012",
        "1:30:00",
        "9" * 5000,
        "0x" + "f" * 9000,
        "~",
        "null",
        "yes",
    ),
    *("''", "'\x1b[31m'", "!!binary aGFsbG8=", "!!set {a, b}", "!!python/object:os.system {}"),
    *("!!omap [a: 1]", "<<", "=", "-1", "0", "1", "3", "1.5", "true", "[]", "{}", "sff", "vgg8"),
    *("timm/resnet18", "torchvision/resnet18", "timm/../x", "~nosuchuser/x", "'\\ud800'", "'\\0'"),
    *("1e30", "-0.0", "2147483648", "9223372036854775808", "relu", "adamw", "timm/lion"),
)
_ODD_YAML = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "model: &a {args: *a}\n",
    "readouts: &a [*a]\n",
    "augment: {jitter: &a [0.1, *a, *a, 0]}\n",
    "model: {widths: " + "[" * 5000 + "]" * 5000 + "}",
    "class_names: [" + ",".join(["2024-01-01"] * 3) + "]",
    "epochs: 0x10\n",
    "? [a, b]\n: c\n",
    "<<: {epochs: 3}\n",
    "<<: [{epochs: 3}, {epochs: 4}]\n",
    "<<: 3\n",
    "--- a\n--- b\n",
    "%YAML 9.9\n---\nepochs: 1\n",
    "!!python/object/apply:os.system ['true']\n",
    "method: |\n  a\n  b\n",
    "\ufeffepochs: 1\n",
    "model: {name: cnn, widths: [" + "1," * 100_000 + "]}",
    "x" * 2_000_000,
)
