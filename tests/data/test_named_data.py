from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest

from goodness.data import data_names, open_data
from goodness.errors import InputError

DOWNLOADED = ["mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "imagenette"]


def test_digits(tmp_path):
    data = open_data("digits", data_root=tmp_path)
    assert (len(data.train), len(data.val), len(data.test)) == (1293, 144, 360)
    assert data.train.image_shape == (1, 8, 8)
    images, _ = next(data.train.batches(len(data.train), "cpu"))
    assert (images.min(), images.max()) == (0, 255)
    assert np.bincount(data.test.labels).min() >= 34  # stratified


def test_every_name_is_listed():
    listed = data_names()
    assert [entry["name"] for entry in listed] == ["digits", *DOWNLOADED]
    for entry in listed:
        assert set(entry) == {"name", "title", "classes", "size", "source"}


@pytest.mark.parametrize("name", DOWNLOADED)
def test_without_a_network_the_error_says_where_files_go(tmp_path, name):
    with pytest.raises(InputError) as caught:
        open_data(name, data_root=tmp_path)
    text = str(caught.value)
    assert f"cannot fetch '{name}'" in text
    assert str(tmp_path / name) in text
    assert "\n" not in text


def test_mnist_as_torchvision_keeps_it(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 10)):
        pixels = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
        header = struct.pack(">IIII", 2051, count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        header = struct.pack(">II", 2049, count)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels)
    data = open_data("mnist", data_root=tmp_path, val_fraction=0.25)
    assert (len(data.train), len(data.val), len(data.test)) == (30, 10, 10)
    assert data.classes == tuple("0123456789")
    images, labels = next(data.test.batches(10, "cpu"))
    assert (images.numpy()[:, 0] == pixels).all()
    assert labels.tolist() == list(range(10))


def test_imagenette_as_torchvision_unpacks_it(tmp_path, write_classes):
    counts = {"n01440764": 10, "n03000684": 12}
    for part in ("train", "val"):
        folder = write_classes(tmp_path / "imagenette2-160" / part, counts)
        for file in folder.rglob("*.png"):
            file.rename(file.with_suffix(".JPEG"))
    data = open_data("imagenette", data_root=tmp_path, image_size=4)
    assert data.classes == ("tench", "chain saw")
    assert len(data.test) == 22


@pytest.mark.parametrize(
    ("name", "kind", "pixels"),
    [
        ("cifar10", "CIFAR10", (40, 32, 32, 3)),
        ("cifar100", "CIFAR100", (40, 32, 32, 3)),
        ("svhn", "SVHN", (40, 3, 32, 32)),
    ],
)
def test_colour_arrays_of_torchvision(tmp_path, monkeypatch, name, kind, pixels):
    # torchvision checks the checksums of these files, so small ones cannot stand in for them.
    class Stored:
        classes = tuple("0123456789")

        def __init__(self, root, download, **_part):
            assert root == tmp_path
            assert download
            self.data = np.arange(np.prod(pixels)).astype(np.uint8).reshape(pixels)
            self.targets = self.labels = [i % 10 for i in range(len(self.data))]

    monkeypatch.setattr(f"torchvision.datasets.{kind}", Stored)
    data = open_data(name, data_root=tmp_path, val_fraction=0.25)
    assert data.classes == Stored.classes
    images, labels = next(data.test.batches(40, "cpu"))
    stored = Stored(tmp_path, True).data
    if name != "svhn":
        stored = stored.transpose(0, 3, 1, 2)
    assert (images.numpy() == stored).all()
    assert labels.tolist() == [i % 10 for i in range(40)]


def test_settings_do_without_torch():
    code = (
        "import sys, goodness.data.settings, goodness.data\n"
        "from goodness.data import AugmentConfig, data_names\n"
        "print([name for name in ('torch', 'kornia', 'pyarrow', 'sklearn') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
