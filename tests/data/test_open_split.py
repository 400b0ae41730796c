from __future__ import annotations

import pytest

from goodness.data import Preprocessing, open_data, open_split
from goodness.errors import InputError


@pytest.fixture
def preprocessing():
    """A network was trained on 6x6 grey cats, dogs and owls, in this order."""
    return Preprocessing(
        channels=1, height=6, width=6, mean=[0.5], std=[0.2], classes=["owl", "cat", "dog"]
    )


def test_classes_are_matched_by_name(tmp_path, write_classes, preprocessing):
    write_classes(tmp_path / "test", {"dog": 2, "owl": 3})  # a subset, in another order
    split = open_split(tmp_path, "test", preprocessing)
    for images, labels in split.batches(99, "cpu"):
        assert labels.tolist() == [2 if value < 2 else 0 for value in images[:, 0, 0, 0]]


def test_classes_of_parquet_files_are_matched_by_name(tmp_path, write_parquet, preprocessing):
    names = ["cat", "dog", "unused"]
    write_parquet(tmp_path / "birds" / "test-0.parquet", [0, 1, 0], names)
    split = open_split("birds", "test", preprocessing, data_root=tmp_path)
    assert split.labels.tolist() == [1, 2, 1]


def test_unknown_class(tmp_path, write_classes, preprocessing):
    write_classes(tmp_path / "test", {"dog": 2, "fox": 2})
    with pytest.raises(InputError, match=r"class 'fox' \(such as .*fox.*\).*owl, cat, dog"):
        open_split(tmp_path, "test", preprocessing)


def test_images_take_the_form_of_training(tmp_path, write_classes, preprocessing):
    write_classes(tmp_path / "test", {"cat": 2}, size=(12, 9), mode="RGB")
    write_classes(tmp_path / "test", {"dog": 1}, size=(6, 6))
    assert open_split(tmp_path, "test", preprocessing).image_shape == (1, 6, 6)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_flat_folder_is_taken_whole(tmp_path, write_classes, preprocessing, values, split):
    write_classes(tmp_path, {"cat": 1})  # too few to divide, which is not asked for
    assert values(open_split(tmp_path, split, preprocessing)) == [0]


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("below", ["", "train"])
def test_the_split_of_training_is_found_again(tmp_path, write_classes, values, split, below):
    write_classes(tmp_path / below, {"a": 20, "b": 20})
    data = open_data(tmp_path, val_fraction=0.25)
    again = open_split(tmp_path, split, data.preprocessing, val_fraction=0.25, whole=False)
    assert values(again) == values(getattr(data, split))
    assert again.labels.tolist() == getattr(data, split).labels.tolist()


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_part_of_its_own_is_taken_as_it_is(tmp_path, write_classes, preprocessing, values, split):
    write_classes(tmp_path / split, {"cat": 3}, first=7)
    write_classes(tmp_path / "train", {"cat": 30, "dog": 30})
    assert values(open_split(tmp_path, split, preprocessing)) == [7, 8, 9]


def test_unreadable_images_are_counted(tmp_path, write_classes, preprocessing):
    write_classes(tmp_path / "test", {"cat": 3})
    (tmp_path / "test/cat/001.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"001\.png"):
        open_split(tmp_path, "test", preprocessing)
    split = open_split(tmp_path, "test", preprocessing, skip_unreadable=True)
    assert len(split) == 2
    assert split.skipped == [str(tmp_path / "test/cat/001.png")]


def test_unknown_split(tmp_path, preprocessing):
    with pytest.raises(InputError, match="unknown split 'tset'; did you mean 'test'"):
        open_split("digits", "tset", preprocessing)
