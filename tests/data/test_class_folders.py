from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from goodness.data import open_data
from goodness.errors import InputError


def test_train_and_test_folders(tmp_path, write_classes, values):
    write_classes(tmp_path / "train", {"dog": 10, "cat": 20})
    write_classes(tmp_path / "test", {"dog": 3, "cat": 2}, first=100)
    data = open_data(tmp_path)
    assert data.name == tmp_path.name
    assert data.classes == ("cat", "dog")  # alphabetical
    assert (len(data.train), len(data.val), len(data.test)) == (27, 3, 5)
    assert sorted(values(data.test)) == [100, 101, 102, 103, 104]
    assert data.test.labels.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", ["val", "validation"])
def test_val_folder_is_the_validation_part(name, tmp_path, write_classes, values):
    write_classes(tmp_path / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / name, {"a": 2, "b": 1}, first=50)
    write_classes(tmp_path / "test", {"a": 2, "b": 2}, first=100)
    data = open_data(tmp_path)
    assert len(data.train) == 20
    assert sorted(values(data.val)) == [50, 51, 52]


def test_a_folder_called_valid_is_the_validation_part(tmp_path, write_classes, values):
    write_classes(tmp_path / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / "valid", {"a": 1, "b": 1}, first=50)
    assert values(open_data(tmp_path).val) == [50, 51]


def test_two_validation_folders_are_refused(tmp_path, write_classes):
    for name in ("train", "val", "validation"):
        write_classes(tmp_path / name, {"a": 10, "b": 10})
    with pytest.raises(InputError, match="holds both 'validation' and 'val'"):
        open_data(tmp_path)


@pytest.mark.parametrize("below", ["", "train"])
def test_without_a_test_folder_a_fifth_is_held_out(tmp_path, write_classes, values, below):
    write_classes(tmp_path / below, {"a": 20, "b": 80})
    data = open_data(str(tmp_path))
    assert np.bincount(data.test.labels).tolist() == [4, 16]
    assert np.bincount(data.val.labels).tolist() == [2, 6]
    parts = [values(part) for part in (data.train, data.val, data.test)]
    assert sorted(itertools.chain(*parts)) == list(range(100))  # disjoint, and nothing lost
    for part, split in zip(parts, (data.train, data.val, data.test), strict=True):
        assert [int(value >= 20) for value in part] == split.labels.tolist()


def test_nested_and_hidden_files(tmp_path, write_classes):
    write_classes(tmp_path, {"a": 10, "b": 10})
    write_classes(tmp_path / "a", {"deeper": 10}, first=20)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "b" / "._000.png").write_bytes(b"left by a file manager")
    (tmp_path / "b" / "notes.txt").write_text("not an image")
    data = open_data(tmp_path)
    assert data.classes == ("a", "b")
    assert sum(map(len, (data.train, data.val, data.test))) == 30


def test_one_colour_image_makes_all_colour(tmp_path, write_classes):
    write_classes(tmp_path / "train", {"a": 20, "b": 20})
    write_classes(tmp_path / "test", {"a": 1, "b": 1})
    assert open_data(tmp_path).preprocessing.channels == 1
    for i in range(3):  # enough that one stays in training
        Image.new("RGB", (6, 6), (9, 8, 7)).save(tmp_path / f"train/b/colour{i}.png")
    data = open_data(tmp_path)
    assert data.preprocessing.channels == 3
    images, _ = next(data.train.batches(len(data.train), "cpu"))
    assert images.shape[1:] == (3, 6, 6)
    grey = (images == images[:, :1]).flatten(1).all(1)
    assert not grey.all()
    # The grey images fill the three channels, each still with its own value.
    assert len(images[grey][:, 2, 0, 0].unique()) == grey.sum()


def test_colour_in_the_test_part_does_not_make_training_colour(tmp_path, write_classes):
    write_classes(tmp_path / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / "test", {"a": 2, "b": 2}, mode="RGB")
    data = open_data(tmp_path)
    assert data.train.image_shape == data.test.image_shape == (1, 6, 6)


def test_images_need_not_be_square(tmp_path, write_classes):
    data = open_data(write_classes(tmp_path, {"a": 10, "b": 10}, size=(8, 5)))
    assert data.train.image_shape == (1, 5, 8)
