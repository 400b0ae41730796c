"""Photographs of several sizes, how often they are decoded, and what they take in memory."""

from __future__ import annotations

import os
import pickle
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from goodness.data import open_data, reading, workers
from goodness.data.folder import read_class_folders
from goodness.data.images import image_size, open_image
from goodness.data.sizing import default_side
from goodness.data.source import Paths
from goodness.errors import InputError
from goodness.notes import Note


@pytest.fixture
def photographs(tmp_path):
    """``photographs(sizes)``: two classes of noise, whose sizes (width, height) take turns."""

    def write(sizes, count=20, folder="photographs", suffix="png"):
        for name in ("a", "b"):
            (tmp_path / folder / name).mkdir(parents=True)
            for row in range(count):
                image = Image.effect_noise(sizes[row % len(sizes)], 60).convert("RGB")
                image.save(tmp_path / folder / name / f"{row:03}.{suffix}")
        return tmp_path / folder

    return write


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(100, 200), (120, 90), (300, 80)], 64),
        ([(50, 60), (61, 52)], 48),
        ([(640, 480)] * 3 + [(7, 9)], 64),
        ([(9, 5), (7, 6)], 5),
    ],
)
def test_the_default_side_suits_most_images(sizes, side):
    assert default_side(sizes) == side


def test_several_sizes_train_at_a_default_size_that_is_said(photographs):
    folder = photographs([(40, 30), (30, 40), (33, 41)])
    with pytest.warns(Note, match=r"30 to 40 pixels wide and 30 to 41 high: .* 24x24 \(--image-s"):
        data = open_data(folder)
    for split in data.parts.values():
        assert split.image_shape == (3, 24, 24)
    asked = open_data(folder, image_size=24)  # and nothing is said
    assert data.train.digest() == asked.train.digest()


def test_a_size_that_no_header_has_shown_is_found_all_the_same(photographs, monkeypatch):
    monkeypatch.setattr("goodness.data.sizing.PROBED", 1)
    monkeypatch.setattr("goodness.data.opening.sizes_of.__defaults__", (1,), raising=False)
    folder = photographs([(20, 20), (20, 20), (20, 16)])
    with pytest.warns(Note, match=r"20 to 20 pixels wide and 16 to 20 high: .* 16x16"):
        assert open_data(folder).train.image_shape == (3, 16, 16)


def test_images_of_a_part_with_another_size_are_brought_to_one(tmp_path, photographs):
    photographs([(20, 20)], folder="data/train")
    photographs([(24, 24)], count=2, folder="data/test")
    with pytest.warns(Note, match="20 to 24 pixels wide"):
        assert open_data(tmp_path / "data").test.image_shape == (3, 16, 16)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_header_tells_the_size_of_the_upright_image(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"image.{suffix}"
    Image.new("RGB", (8, 5)).save(file, exif=exif)
    image = open_image(file)
    if suffix != "tif" or orientation == 1:  # of those the header alone is not asked
        assert image_size(file) == (image.height, image.width)
    assert min(image_size(file)) == min(image.size)


@pytest.mark.parametrize("limit", [reading.MEMORY_LIMIT, 0])
def test_every_image_is_decoded_once_at_opening(photographs, monkeypatch, limit):
    folder = photographs([(20, 16), (16, 20)])
    decoded = []

    def counted(file, max_pixels):
        decoded.append(file)
        return open_image(file, max_pixels)

    monkeypatch.setattr("goodness.data.source.open_image", counted)
    monkeypatch.setattr(reading, "MEMORY_LIMIT", limit)
    with pytest.warns(Note):
        data = open_data(folder)
    assert data.train.in_memory == (limit > 0)
    # Of images that stay on the disk only those of training, whose statistics are needed.
    assert len(decoded) == len(set(decoded)) == (40 if limit else len(data.train))


def test_of_a_large_data_set_some_images_are_decoded_at_opening(photographs, monkeypatch):
    folder = photographs([(9, 9)])
    (folder / "b" / "broken.png").write_bytes(b"no image")
    whole = open_data(folder, image_size=9, skip_unreadable=True)
    decoded = []

    def counted(file, max_pixels):
        decoded.append(file)
        return open_image(file, max_pixels)

    monkeypatch.setattr("goodness.data.source.open_image", counted)
    monkeypatch.setattr(reading, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(reading, "STATISTICS_IMAGES", 5)
    data = open_data(folder, image_size=9)
    assert len(decoded) == len(set(decoded)) == 5
    seen = [data.train.name(index) for index in range(len(data.train))]
    places = [seen.index(str(file)) for file in decoded]
    assert places == np.linspace(0, len(seen) - 1, 5).astype(int).tolist()
    pixels = np.stack([np.asarray(open_image(file)) for file in decoded]) / 255
    np.testing.assert_allclose(data.preprocessing.mean, pixels.mean((0, 1, 2)))
    # What cannot be read is found where it is used, or at opening by who leaves it out.
    with pytest.raises(InputError, match=r"cannot read the image .*broken\.png"):
        list(chain.from_iterable(split.batches(4, "cpu") for split in data.parts.values()))
    lazy = open_data(folder, image_size=9, skip_unreadable=True)
    assert lazy.skipped == whole.skipped != []
    assert lazy.preprocessing == whole.preprocessing


def test_names_of_many_files_take_little_memory(tmp_path):
    names = [f"a/{number}.png" for number in range(3)] + ["ü/ä.jpg", os.fsdecode(b"\xff.png")]
    paths = Paths(names)
    assert [paths[index] for index in range(len(names))] == names
    many = Paths(f"{number:050}" for number in range(1000))
    assert len(pickle.dumps(many)) < 60_000


def test_files_are_in_the_order_of_their_paths(tmp_path):
    names = ("b/1.png", "b-1.PNG", "b/a/2.jpg", "a.png", "B.png", "b.gif", "c.txt", ".d.png")
    for name in names:
        (tmp_path / "k" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "k" / name).touch()
    (tmp_path / "k" / "linked").symlink_to(tmp_path / "k" / "b")
    (tmp_path / "k" / "linked.png").symlink_to(tmp_path / "k" / "a.png")
    (tmp_path / "k" / "gone.png").symlink_to(tmp_path / "k" / "nothing.png")
    source = read_class_folders(tmp_path)
    found = [Path(source.name(index)) for index in range(len(source))]
    kept = {*names[:6], "linked.png"}
    assert found == sorted(tmp_path / "k" / name for name in kept)


def test_statistics_of_images_on_disk_are_those_of_images_in_memory(photographs, monkeypatch):
    folder = photographs([(9, 9)])
    for row in range(20):  # grey ones, which fill all channels, come first
        Image.effect_noise((9, 9), 40).save(folder / "a" / f"{row:03}.png")
    kept = open_data(folder)
    # Room for the grey images, and not for those of three channels.
    for limit in (0, 3 * len(kept.train) * 81 - 1):
        monkeypatch.setattr(reading, "MEMORY_LIMIT", limit)
        lazy = open_data(folder)
        assert not lazy.train.in_memory
        assert lazy.memory_bytes == 0 or limit
        assert lazy.preprocessing == kept.preprocessing


def test_no_more_memory_is_taken_than_a_part_of_what_is_free(photographs, monkeypatch):
    folder = photographs([(9, 9)])
    taken = open_data(folder)
    assert taken.memory_bytes == sum(len(split) for split in taken.parts.values()) * 3 * 81
    monkeypatch.setattr(reading, "available_memory", lambda: taken.train.memory_bytes * 2)
    assert not open_data(folder).train.in_memory


def test_few_images_are_decoded_ahead_of_use(photographs, monkeypatch):
    folder = photographs([(32, 32)], count=40)
    monkeypatch.setattr(reading, "CHUNK_PIXELS", 1)  # one image a task
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 1)
    opened = []

    class Watched:
        def __len__(self):
            return 80

        def size(self, index):
            return 32, 32

        def open(self, index):
            opened.append(index)
            return Image.open(sorted(folder.rglob("*.png"))[index])

    images = reading._decode(Watched(), 3, (4, 4))
    next(images)
    images.close()
    assert len(opened) <= 2 + reading.AHEAD


def test_a_class_that_a_part_lacks_is_told(tmp_path, write_classes):
    write_classes(tmp_path / "train", {"a": 10, "b": 10, "c": 10})
    write_classes(tmp_path / "valid", {"a": 2, "b": 2}, first=30)
    write_classes(tmp_path / "test", {"b": 2}, first=40)
    with pytest.warns(Note) as told:
        data = open_data(tmp_path)
    assert [str(each.message) for each in told] == [
        "the validation part has no image of class 'c'",
        "the test part has no image of class 'a', 'c'",
    ]
    assert np.bincount(data.val.labels).tolist() == [2, 2]
    assert torch.equal(data.test.labels, torch.tensor([1, 1]))


def test_every_class_of_few_images_is_in_every_part(tmp_path, write_classes):
    write_classes(tmp_path, dict.fromkeys("abcdefghij", 6))
    data = open_data(tmp_path)  # a note would be an error
    for split in data.parts.values():
        assert sorted(set(split.labels.tolist())) == list(range(10))
    assert (len(data.test), len(data.val), len(data.train)) == (12, 10, 38)
