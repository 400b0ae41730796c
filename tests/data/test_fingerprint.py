"""A fingerprint tells data from other data, and says what has changed."""

from __future__ import annotations

import os
import random
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from attacks.data_changes import CHANGES
from goodness.data import fingerprint as fingerprints
from goodness.data import open_data
from goodness.data.fingerprint import Fingerprint, changes
from goodness.data.splitting import Subset
from goodness.notes import Note


@pytest.fixture
def photos(tmp_path):
    """Three classes of 14 images, divided into training and test."""
    pixels = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("ant", "bee", "cow"):
            place = tmp_path / "photos" / part / name
            place.mkdir(parents=True)
            for image in range(14):
                drawn = pixels.integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(drawn).save(place / f"{image:03d}.bmp")
    return tmp_path / "photos"


def of(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)  # of parts that lack a class
        return open_data(str(folder), **options).fingerprint


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[each.__name__ for each, _ in CHANGES])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("limit", [None, 3000])
def test_it_says_what_has_changed(photos, change, words, flat, limit, monkeypatch):
    if limit is not None:
        monkeypatch.setattr(fingerprints, "CONTENT_BYTES", limit)
    folder = photos / "train" if flat else photos
    before = of(folder)
    if limit is not None:
        assert before.every > 1
    change(photos / "train", random.Random(0))
    said = changes(before, of(folder))

    if limit is not None and change.__name__ in ("replaced_image", "one_flipped_bit"):
        return  # of a part of the images sizes alone are looked at
    assert bool(said) == bool(words)
    assert all(word in said for word in words.split()), said


def test_where_the_data_lies_and_what_memory_holds_do_not_matter(photos, tmp_path, monkeypatch):
    before = of(photos)
    shutil.copytree(photos, tmp_path / "elsewhere")
    monkeypatch.setattr("goodness.data.reading.MEMORY_LIMIT", 0)
    data = open_data(str(tmp_path / "elsewhere"))

    assert not data.train.in_memory
    assert data.fingerprint == before
    assert Fingerprint.from_json(before.to_json()) == before


def test_classes_that_are_not_used_may_change(photos):
    shutil.copytree(photos / "test", photos / "val")  # else they decide which images are held out
    chosen = Subset(["cow", "ant"])
    before = of(photos, subset=chosen)
    (photos / "train" / "bee" / "000.bmp").unlink()
    assert of(photos, subset=chosen) == before
    said = changes(before, of(photos, subset=Subset(["ant", "cow"])))
    assert said == "the classes are in another order"


def test_many_changes_are_counted(photos):
    before = of(photos)
    for name in "abcde":
        shutil.copytree(photos / "train" / "ant", photos / "train" / name)
    assert changes(before, of(photos)).endswith("; and 2 more changes")


def test_other_parts_alone_are_told(photos):
    before = of(photos)
    images = before.splits["val"].images
    splits = {**before.splits, "val": replace(before.splits["val"], images=images + 1)}
    said = changes(before, replace(before, splits=splits))
    assert said == f"its val part had {images} images, here are {images + 1}"


def test_an_image_that_cannot_be_read_is_no_hindrance(photos):
    (photos / "train" / "bee" / "003.bmp").write_bytes(b"no image")
    os.symlink("nowhere", photos / "train" / "bee" / "link.bmp")
    before = of(photos, skip_unreadable=True)
    assert before == of(photos, skip_unreadable=True)
