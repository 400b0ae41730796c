"""What hostile files are made of: small files of every format, and odd values for every place."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image


def images() -> dict[str, bytes]:
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


def png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def parquet(
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


def idx_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    made = {}
    for part, count in (("train", 60), ("t10k", 20)):
        pixels = rng.integers(256, size=(count, 28, 28), dtype=np.uint8).tobytes()
        made[f"{part}-images-idx3-ubyte"] = struct.pack(">IIII", 2051, count, 28, 28) + pixels
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        made[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 2049, count) + labels
    return made


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@cache
def weights_bomb() -> bytes:
    """An archive of few bytes that holds 160 MB, compressed, as torch itself never writes one."""
    content = saved({"0.weight": torch.zeros(4 * 10**7)})
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
ODD_STATES: dict[str, Callable[[State], Any]] = {
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
READING = (
    *("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "weights", "pretrained"),
    *("weights_backbone", "cache_dir", "file", "url", "hf_hub_id", "state_dict", "features_only"),
)
ODD_COLUMNS: list[list[Any]] = [[3, 4], ["a", "b"], [None, None], [{"x": 1}, {"x": 2}], [[1], [2]]]
ODD_LABELS: list[list[Any]] = [
    *([0, 1], [-1, 1], [0, 2**62], [0, None], ["a", "b"], [0.5, 1.0], [True, False], []),
]
KEYS = (
    *("method", "epochs", "batch_size", "image_size", "model", "model.widths", "model.args", "lr"),
    *("augment", "augment.crop", "objective", "optimizer", "optimizer.args", "lr_schedule", "plan"),
    *("class_names", "readouts", "readouts.linear", "early_stopping", "checkpoint", "seed", "data"),
    *("label_smoothing", "class_weights", "lr_factors", "freeze_until", "partition", "log", "ema"),
    *("data_root", "init_from", "feature_cache", "num_threads", "device", "presentation", "update"),
)
ODD_NAMES = ("", "x", "name", "0", "true", "null", "2024-01-01", "é", "__class__", "a b", "~", "*")
ODD_VALUES = (
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
ODD_JSON: list[Any] = [
    *(
        None,
        True,
        -1,
        0,
        1,
        3,
        0.5,
        -0.0,
        1e308,
        float("nan"),
        2**70,
        10**6,
        [],
        {},
        [[1]],
        {"": 1},
    ),
    *("", "x", "../../x", "\x1b[31m\nx", "x" * 5000, "1", "last", [None], ["a", "b"], [0.1, 0.9]),
    *({"name": "x"}, {"name": "classifier"}, {"bytes": None}, "small-cnn", "1e9", [1, 2, 3]),
]
ODD_YAML = (
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
