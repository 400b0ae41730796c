from __future__ import annotations

import shutil

import pytest
from PIL import Image

from goodness.data import open_data
from goodness.errors import InputError


def message(*args, **options):
    with pytest.raises(InputError) as caught:
        open_data(*args, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_missing_folder(tmp_path):
    assert f"there is no folder '{tmp_path / 'nothing'}'" in message(str(tmp_path / "nothing"))


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "photo.png").touch()
    assert "is a file" in message(tmp_path / "photo.png")


def test_unknown_name(tmp_path):
    text = message("mnsit", data_root=tmp_path)
    assert "unknown data set 'mnsit'; did you mean 'mnist'?" in text
    assert "folder" in text


def test_names_below_the_root_are_suggested(tmp_path, write_parquet):
    write_parquet(tmp_path / "flowers" / "train-0.parquet", [0, 1])
    assert "did you mean 'flowers'?" in message("flower", data_root=tmp_path)


def test_empty_folder(tmp_path):
    assert f"no images found in '{tmp_path}'" in message(tmp_path)


def test_images_without_class_folders(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "0.png")
    assert "<class>/" in message(tmp_path)


def test_empty_train_folder(tmp_path):
    (tmp_path / "train").mkdir()
    assert f"no images found in '{tmp_path / 'train'}'" in message(tmp_path)


def test_class_without_an_image(tmp_path, write_classes):
    write_classes(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "empty").mkdir()
    assert f"class folder '{tmp_path / 'empty'}' holds no image" in message(tmp_path)


def test_test_part_without_training_images(tmp_path, write_classes):
    write_classes(tmp_path / "test", {"a": 10, "b": 10})
    assert "no training images" in message(tmp_path)


def test_unknown_class_in_the_test_part(tmp_path, write_classes):
    write_classes(tmp_path / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / "test", {"a": 1, "z": 1})
    text = message(tmp_path)
    assert "class 'z'" in text
    assert "a, b" in text


def test_one_class_only(tmp_path, write_classes):
    assert "one class only, 'a'" in message(write_classes(tmp_path, {"a": 1}))


def test_class_too_small_to_divide(tmp_path, write_classes):
    text = message(write_classes(tmp_path, {"few": 1, "many": 20}))
    assert "class 'few' has 1 image" in text


def test_too_few_images_for_all_classes(tmp_path, write_classes):
    text = message(write_classes(tmp_path, dict.fromkeys("abcdef", 2)))
    assert "too few for a test part with all 6 classes" in text


@pytest.mark.parametrize("fraction", [0, 1, -0.5])
def test_validation_fraction_out_of_range(tmp_path, write_classes, fraction):
    write_classes(tmp_path, {"a": 10, "b": 10})
    assert "val_fraction" in message(tmp_path, val_fraction=fraction)


def test_image_size_out_of_range(tmp_path, write_classes):
    write_classes(tmp_path, {"a": 10, "b": 10})
    assert "image_size is 0" in message(tmp_path, image_size=0)


def spoil(file, how):
    """Overwrite an image file with a broken one."""
    if how == "truncated":
        Image.effect_noise((64, 64), 50).save(file)
        file.write_bytes(file.read_bytes()[:1000])
    elif how == "corrupt":
        file.write_bytes(b"this is no image")
    else:
        file.write_bytes(b"")


@pytest.mark.parametrize("how", ["truncated", "corrupt", "empty"])
def test_unreadable_image(tmp_path, write_classes, how):
    write_classes(tmp_path, {"a": 10, "b": 10})
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


def test_nothing_is_skipped_from_good_data(tmp_path, write_classes):
    assert (
        open_data(write_classes(tmp_path, {"a": 10, "b": 10}), skip_unreadable=True).skipped == []
    )


def test_a_class_of_unreadable_images_is_not_skipped(tmp_path, write_classes):
    write_classes(tmp_path, {"a": 10, "b": 10})
    for file in (tmp_path / "b").iterdir():
        spoil(file, "corrupt")
    assert "no image of class 'b' could be read" in message(tmp_path, skip_unreadable=True)


def test_a_part_of_unreadable_images_is_not_skipped(tmp_path, write_classes):
    write_classes(tmp_path / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / "test", {"a": 1})
    spoil(tmp_path / "test" / "a" / "000.png", "corrupt")
    assert "none of the 1 images could be read" in message(tmp_path, skip_unreadable=True)


def test_a_vanished_image_is_named(tmp_path, write_classes, monkeypatch):
    write_classes(tmp_path / "train", {"a": 10, "b": 10})
    write_classes(tmp_path / "test", {"a": 1})
    monkeypatch.setattr("goodness.data.reading.MEMORY_LIMIT", 0)
    data = open_data(tmp_path)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(InputError, match=r"cannot read the image .*000\.png"):
        list(data.test.batches(1, "cpu"))
