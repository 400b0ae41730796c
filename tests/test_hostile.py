"""What somebody else made is read without being obeyed."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import goodness
from goodness.api import _check_outside
from goodness.cli.app import _notes_shown
from goodness.cli.streams import finish_output, prepare_streams
from goodness.cli.values import read_config, read_setting
from goodness.comparison.study import WORKER
from goodness.config import resolve
from goodness.data import open_data
from goodness.data.images import open_image
from goodness.errors import InputError
from goodness.files import at_home, check_regular, file_name
from goodness.models import MODELS
from goodness.models.weights import load_weights, read_weights
from goodness.models.zoo import _arguments
from goodness.notes import note
from goodness.reports.environment import environment
from helpers import TINY


def png(width, height):
    """A PNG of few bytes that says it is large."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def test_metadata_that_pillow_minds_are_no_line_on_the_terminal(capsys):
    with _notes_shown():
        warnings.warn_explicit("Corrupt EXIF data", UserWarning, "x.py", 1, "PIL.TiffImagePlugin")
        note("an image was turned")
    assert capsys.readouterr().err == "note: an image was turned\n"


@pytest.mark.parametrize("text", ["epochs=0x" + "f" * 9000, "epochs=0b" + "1" * 20_000])
def test_a_number_of_more_digits_than_python_prints_is_refused_in_one_line(text):
    with pytest.raises(InputError, match="a whole number has too many digits"):
        read_setting(text)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": {"name": "vgg8", "widths": [8, 2**70]}}, r"model\.widths\.1: a whole number"),
        (
            {"data_root": float("-inf"), "data": "mnist"},
            "data_root: Input should be a valid string",
        ),
    ],
    ids=["widths", "data_root"],
)
def test_odd_values_are_refused_where_all_are_checked(values, words):
    with pytest.raises(InputError, match=words):
        resolve(values)


@pytest.mark.parametrize("side", [8001, 13_000, 50_000])
def test_an_image_is_refused_by_its_size_before_it_is_decoded(tmp_path, side):
    file = tmp_path / "bomb.png"
    file.write_bytes(png(side, side))
    with pytest.raises(InputError, match=f"{side}x{side} is more than 64,000,000 pixels"):
        open_image(file)
    with pytest.raises(OSError, match="truncated"):  # it gets as far as decoding
        open_image(file, max_pixels=side**2)


def test_the_limit_of_images_can_be_raised_and_lowered(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("L", (20, 20), number).save(tmp_path / name / f"{number}.png")
    assert len(open_data(tmp_path).train)  # Pillow's own limit is another one
    with pytest.raises(InputError, match=r"20x20 is more than 399 pixels \(--max-pixels raises"):
        open_data(tmp_path, max_pixels=399)
    assert resolve({"max_pixels": 7}).max_pixels == 7


def test_no_square_larger_than_the_limit_is_made(tmp_path):
    with pytest.raises(InputError, match="image_size is 100000: 100000x100000 is more than"):
        open_data("digits", image_size=100_000)


def test_a_pipe_or_a_device_is_no_file(tmp_path):
    fifo = tmp_path / "x.png"
    os.mkfifo(fifo)
    for place in (fifo, tmp_path / "weights.pth"):
        if place != fifo:
            place.symlink_to("/dev/zero")
        for use in (check_regular, open_image, read_weights):
            with pytest.raises(InputError, match="is a pipe, a device or a socket"):
                use(place)
    (tmp_path / "train-0.parquet").symlink_to(fifo)
    with pytest.raises(InputError, match="is a pipe, a device or a socket"):
        open_data(tmp_path)
    (tmp_path / "config.yaml").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="longer than 500,000 characters"):
        read_config(tmp_path / "config.yaml")


def test_a_table_of_few_bytes_is_not_unpacked(tmp_path):
    value = pa.array([b"\0" * 10**6], pa.large_binary())
    encoded = pa.DictionaryArray.from_arrays(pa.array(np.zeros(400, np.int32)), value)
    images = pa.StructArray.from_arrays([encoded], ["bytes"])
    table = pa.table({"image": images, "label": pa.array([0, 1] * 200)})
    file = tmp_path / "train-0.parquet"
    pq.write_table(table, file, compression="zstd", store_schema=False)
    assert file.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"holds more than 268\.4 MB of encoded images"):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda files: files.update({"train-images-idx3-ubyte": b""}), "cannot fetch 'mnist'"),
        (lambda files: files.update({"t10k-labels-idx1-ubyte": b"x" * 99}), "cannot fetch 'mnist'"),
        (
            lambda files: files.update(
                {"train-labels-idx1-ubyte": files["t10k-labels-idx1-ubyte"]}
            ),
            r"images of shape \(40, 28, 28\) with labels of \(10,\)",
        ),
        (
            lambda files: files.update(
                {
                    f"{one}-{kind}-ubyte": files[f"{other}-{kind}-ubyte"]
                    for one, other in (("train", "t10k"),)
                    for kind in ("images-idx3", "labels-idx1")
                }
                | {
                    f"t10k-{kind}-ubyte": files[f"train-{kind}-ubyte"]
                    for kind in ("images-idx3", "labels-idx1")
                }
            ),
            "its files have each other's names",
        ),
    ],
    ids=["empty", "random", "labels swapped", "parts swapped"],
)
def test_damaged_and_swapped_files_of_mnist(tmp_path, change, says):
    files = {}
    for part, count in (("train", 40), ("t10k", 10)):
        header = struct.pack(">IIII", 2051, count, 28, 28)
        files[f"{part}-images-idx3-ubyte"] = header + bytes(count * 784)
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">II", 2049, count) + labels
    change(files)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        open_data("mnist", data_root=tmp_path)


def model():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.to_sparse(), "'0.weight' is sparse, quantised or without values"),
        (lambda w: w.to("meta"), "'0.weight' is sparse, quantised or without values"),
        (lambda w: w.to(torch.complex64), "'0.weight' holds complex numbers"),
        (lambda w: torch.zeros(1).expand(10**6, 3, 100, 100), "'0.weight' is "),
        (lambda w: 3, "no state_dict"),
    ],
    ids=["sparse", "meta", "complex", "large view", "number"],
)
def test_weights_are_plain_tensors(tmp_path, change, says):
    state = model().state_dict()
    torch.save({**state, "0.weight": change(state["0.weight"])}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=says):
        load_weights(model(), read_weights(tmp_path / "w.pth"), "the file")


LOADERS = (
    *("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained", "cache_dir"),
    *("weights", "weights_backbone", "progress", "pretrained_strict", "features_only"),
)


@pytest.mark.parametrize("name", ["timm/resnet18", "torchvision/resnet18", "timm/test_vit"])
def test_a_network_takes_the_arguments_of_its_constructor_alone(name):
    for loader in LOADERS:
        part = {"name": name, "args": {loader: "weights.bin"}}
        with pytest.raises(InputError, match=rf"model\.args\.{loader} is no argument of {name}'s"):
            MODELS.make(MODELS.resolve(part), (3, 32, 32), 4)


def test_no_constructor_of_the_libraries_reads_anything():
    import timm
    from torchvision import models

    for family, known in (("timm", timm.list_models()), ("torchvision", models.list_models())):
        for one in known[:: 20 if family == "timm" else 5]:
            if family == "timm" or hasattr(models, one):
                assert not _arguments(family, one) & set(LOADERS)
    assert "channels" in _arguments("timm", "resnet18")
    assert "width_mult" in _arguments("torchvision", "mobilenet_v3_small")


def test_a_stored_configuration_hands_no_file_to_a_library(tmp_path):
    goodness.fit(
        "digits", model=TINY, epochs=1, per_class=4, batch_size=8, log=[], out=tmp_path / "run"
    )
    config = tmp_path / "run" / "config.json"
    content = json.loads(config.read_text())
    args = {"checkpoint_path": str(tmp_path / "harm.bin")}
    content["model"] = {"name": "timm/test_resnet", "args": args, "stem": "own"}
    del content["checksum"]
    config.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"checkpoint_path"):
        goodness.load(tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: &a {args: *a}", "it holds too many values"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
            "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
            "e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
            "it holds too many values",
        ),
        ("epochs: !!binary aGFsbG8=", "could not determine a constructor"),
        ("epochs: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("model: {widths: " + "[" * 5000 + "]" * 5000 + "}", "it cannot be read"),
        ("x" * 500_001, "longer than 500,000 characters"),
    ],
    ids=["inside itself", "expands", "binary", "python", "deep", "long"],
)
def test_yaml_of_somebody_else(tmp_path, text, says):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_config(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)


def test_yaml_gives_what_json_can_hold(tmp_path):
    (tmp_path / "c.yaml").write_text("a: 2024-01-01\nb: 0x10\nc: &c [1]\nd: *c\ne: ~\nf: yes\n")
    given = read_config(tmp_path / "c.yaml")
    assert given == {"a": "2024-01-01", "b": 16, "c": [1], "d": [1], "e": None, "f": True}
    assert read_setting("class_names=[2024-13-45]") == {"class_names": ["2024-13-45"]}


def test_git_runs_no_program_of_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    mark, script = tmp_path / "executed", tmp_path / "harm.sh"
    script.write_text(f"#!/bin/sh\ntouch '{mark}'\ncat\n")
    script.chmod(0o755)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "harm.sh"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    for key in ("core.fsmonitor", "filter.x.clean", "filter.x.process"):
        subprocess.run([*git, "config", key, str(script)], check=True)
    (tmp_path / ".gitattributes").write_text("* filter=x\n")
    script.write_text(script.read_text())  # git has to look at it again
    found = environment(None)["git"]
    assert found is not None
    assert found["dirty"] is True
    assert not mark.exists()
    subprocess.run([*git, "status", "--porcelain"], capture_output=True)
    assert mark.exists()  # a plain git would have


def test_a_worker_imports_nothing_from_the_folder_one_stands_in(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    program = f"{WORKER.splitlines()[0]}\nimport json; print(json.__file__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0
    assert str(tmp_path).encode() not in done.stdout


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"axes.titlesize: 77\n"])
def test_local_settings_of_matplotlib_are_ignored(tmp_path, content):
    (tmp_path / "matplotlibrc").write_bytes(content)
    program = (
        "import os, sys; sys.path[:] = [p for p in sys.path if p]; import goodness.reports.figure;"
        "import matplotlib; print(matplotlib.rcParams['axes.titlesize'], os.getcwd())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["large", str(tmp_path.resolve())]


def test_a_home_that_is_not_known(tmp_path):
    with pytest.raises(InputError, match="the home folder in '~nosuchuser/x' is not known"):
        at_home("~nosuchuser/x")
    with pytest.raises(InputError, match="nosuchuser"):
        open_data("~nosuchuser/x")
    assert at_home(tmp_path) == tmp_path


def test_a_name_is_shortened_to_what_systems_allow():
    assert file_name("abc") == "abc"
    assert len(file_name("é" * 300).encode()) <= 201
    assert file_name(os.fsdecode(b"caf\xe9")) == "caf_"


def test_a_run_folder_is_no_class(tmp_path):
    for part in ("train", "test"):
        (tmp_path / "parts" / part / "cat").mkdir(parents=True)
    (tmp_path / "flat" / "cat").mkdir(parents=True)
    _check_outside(tmp_path / "parts" / "run", str(tmp_path / "parts"))
    _check_outside(tmp_path / "run", str(tmp_path / "flat"))
    _check_outside(tmp_path / "run", "digits")
    for data, run in (("flat", "flat/run"), ("parts", "parts/train/run"), ("flat", "flat/runs/x")):
        with pytest.raises(InputError, match="would lie among the classes"):
            _check_outside(tmp_path / run, str(tmp_path / data))


def test_output_that_nobody_reads_ends_with_1_and_no_word(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        prepare_streams()
        print("x")
        with pytest.raises(SystemExit) as ended:
            finish_output()
    assert ended.value.code == 1
    assert capsys.readouterr().err == ""


def test_closed_output_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    prepare_streams()
    print("x")
    finish_output()
    sys.stdout.close()


def test_characters_that_an_encoding_lacks_are_written_escaped(monkeypatch, tmp_path):
    with open(tmp_path / "x", "w", encoding="latin-1") as file:
        monkeypatch.setattr(sys, "stdout", file)
        prepare_streams()
        print("é – \udcff")
    assert (tmp_path / "x").read_bytes() == b"\xe9 \\u2013 \xff\n"


IMPORTS = """
import importlib, pkgutil, sys

asked = []
sys.addaudithook(
    lambda event, args: asked.append((event, args))
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")
    else None
)
import goodness

packages = ("cli", "data", "learning", "models", "sharing", "training")  # the rest comes along
places = [f"{goodness.__path__[0]}/{name}" for name in packages]
for module in pkgutil.iter_modules(places):
    importlib.import_module(f"goodness.{module.module_finder.path.split('/')[-1]}.{module.name}")
count = sum(name.startswith("goodness.") for name in sys.modules)
print(count, asked)
"""


def test_no_module_asks_the_network_when_it_is_imported():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, asked = done.stdout.split(maxsplit=1)
    assert int(count) > 100
    assert asked.strip() == "[]"
