from __future__ import annotations

import shutil

import pytest
from PIL import Image

from goodness.data import open_data
from goodness.errors import InputError

TWO = {"a": 10, "b": 10}


def message(*args, **options):
    with pytest.raises(InputError) as caught:
        open_data(*args, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("folders", "options", "words"),
    [
        ({}, {}, ["no images found in '{folder}'"]),
        ({"train": {}}, {}, ["no images found in '{folder}/train'"]),
        ({".": {**TWO, "empty": 0}}, {}, ["class folder '{folder}/empty' holds no image"]),
        ({"test": TWO}, {}, ["no training images"]),
        ({"train": TWO, "test": {"a": 1, "z": 1}}, {}, ["class 'z'", "a, b"]),
        ({".": {"a": 1}}, {}, ["one class only, 'a'"]),
        ({".": {"few": 1, "many": 20}}, {}, ["class 'few' has 1 image"]),
        ({".": dict.fromkeys("abcdef", 2)}, {}, ["class 'a' has 1 image", "validation part"]),
        ({".": {"a": 2, "b": 1}}, {}, ["class 'b' has 1 image", "test part"]),
        ({".": TWO}, {"val_fraction": 0}, ["val_fraction"]),
        ({".": TWO}, {"val_fraction": 1}, ["val_fraction"]),
        ({".": TWO}, {"val_fraction": -0.5}, ["val_fraction"]),
        ({".": TWO}, {"image_size": 0}, ["image_size is 0"]),
    ],
)
def test_a_folder_that_cannot_be_divided(tmp_path, write_classes, folders, options, words):
    for name, counts in folders.items():
        (tmp_path / name).mkdir(exist_ok=True)
        write_classes(tmp_path / name, counts)
    text = message(tmp_path, **options)
    assert all(word.format(folder=tmp_path) in text for word in words)


def test_what_is_no_data(tmp_path, write_parquet):
    missing = tmp_path / "nothing"
    assert f"there is no folder '{missing}'" in message(str(missing))
    Image.new("L", (4, 4)).save(tmp_path / "0.png")
    assert "is a file" in message(tmp_path / "0.png")
    assert "<class>/" in message(tmp_path)  # images, but no folders of classes
    text = message("mnsit", data_root=tmp_path)
    assert "unknown data set 'mnsit'; did you mean 'mnist'?" in text
    assert "folder" in text
    write_parquet(tmp_path / "flowers" / "train-0.parquet", [0, 1])
    assert "did you mean 'flowers'?" in message("flower", data_root=tmp_path)


def spoil(file, how):
    """Overwrite an image file with a broken one."""
    if how == "truncated":
        Image.effect_noise((64, 64), 50).save(file)
        file.write_bytes(file.read_bytes()[:1000])
    elif how == "corrupt":
        file.write_bytes(b"this is no image")
    else:
        file.write_bytes(b"")


@pytest.mark.filterwarnings("ignore::goodness.notes.Note")  # the truncated one has its own size
@pytest.mark.parametrize("how", ["truncated", "corrupt", "empty"])
def test_unreadable_image(tmp_path, write_classes, how):
    write_classes(tmp_path, TWO)
    assert open_data(tmp_path, skip_unreadable=True).skipped == []
    bad = tmp_path / "a" / "004.png"
    spoil(bad, how)
    assert f"cannot read the image {bad}" in message(tmp_path)
    data = open_data(tmp_path, skip_unreadable=True)
    assert data.skipped == [str(bad)]
    assert sum(map(len, (data.train, data.val, data.test))) == 19


def test_skipping_does_not_move_the_split(tmp_path, write_classes, values):
    write_classes(tmp_path, {"a": 20, "b": 20})
    before = open_data(tmp_path)
    spoil(tmp_path / "a" / f"{values(before.train)[0]:03}.png", "corrupt")
    after = open_data(tmp_path, skip_unreadable=True)
    assert values(after.train) == values(before.train)[1:]
    assert after.train.labels.tolist() == before.train.labels.tolist()[1:]
    assert values(after.val) == values(before.val)
    assert values(after.test) == values(before.test)


def test_a_class_of_unreadable_images_is_not_skipped(tmp_path, write_classes):
    write_classes(tmp_path, TWO)
    for file in (tmp_path / "b").iterdir():
        spoil(file, "corrupt")
    assert "no image of class 'b' could be read" in message(tmp_path, skip_unreadable=True)


def test_a_part_of_unreadable_images_is_not_skipped(tmp_path, write_classes):
    write_classes(tmp_path / "train", TWO)
    write_classes(tmp_path / "test", {"a": 1})
    spoil(tmp_path / "test" / "a" / "000.png", "corrupt")
    assert "none of the 1 images could be read" in message(tmp_path, skip_unreadable=True)


def test_a_vanished_image_is_named(tmp_path, write_classes, monkeypatch):
    write_classes(tmp_path / "train", TWO)
    write_classes(tmp_path / "test", {"a": 1, "b": 1})
    monkeypatch.setattr("goodness.data.reading.MEMORY_LIMIT", 0)
    data = open_data(tmp_path)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(InputError, match=r"cannot read the image .*000\.png"):
        list(data.test.batches(1, "cpu"))
