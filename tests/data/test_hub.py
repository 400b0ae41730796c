"""Data sets of the Hugging Face hub."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from goodness.data import open_data, open_split
from goodness.errors import InputError


class FakeImage:
    def __init__(self, decode=True):
        self.decode = decode


class FakeLabel(SimpleNamespace):
    pass


class Rows:
    """As much of a ``datasets.Dataset`` as is asked for."""

    def __init__(self, columns, features):
        self.columns, self.features = columns, features

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        return {name: column[key] for name, column in self.columns.items()}

    def select_columns(self, names):
        return Rows({name: self.columns[name] for name in names}, self.features)

    def cast_column(self, name, feature):
        assert not feature.decode
        return self


@pytest.fixture
def hub(monkeypatch, tmp_path, write_classes):
    """A ``datasets`` library whose hub holds what a test puts into it."""
    folder = write_classes(tmp_path / "files", {"a": 20, "b": 20})
    files = sorted(folder.rglob("*.png"))
    stored = [
        {"bytes": None, "path": str(file)} if n % 2 else {"bytes": file.read_bytes(), "path": None}
        for n, file in enumerate(files)
    ]
    labels = [0] * 20 + [1] * 20
    fake = SimpleNamespace(Image=FakeImage, ClassLabel=FakeLabel, asked=[])

    def rows(take=slice(None), **columns):
        columns = columns or {"image": FakeImage(), "label": FakeLabel(names=["a", "b"])}
        content = {FakeImage: stored, FakeLabel: labels}
        return Rows({name: content[type(f)][take] for name, f in columns.items()}, columns)

    def load_dataset(*given):
        fake.asked.append(given)
        if given[0] not in fake.sets:
            raise ConnectionError(f"Couldn't reach '{given[0]}'\nand more")
        return fake.sets[given[0]]

    fake.rows, fake.load_dataset, fake.sets = rows, load_dataset, {}
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_images_are_those_of_the_same_files(hub, tmp_path):
    hub.sets["me/pets"] = {"train": hub.rows()}
    data, files = open_data("hf/me/pets", data_root=tmp_path), open_data(tmp_path / "files")
    assert data.classes == ("a", "b")
    assert data.name == "me/pets"
    assert data.fingerprint.splits == files.fingerprint.splits
    for name, images in files.fingerprint.parts["train"].items():
        assert data.fingerprint.parts["train"][name].content == images.content
    assert hub.asked == [("me/pets", None)]


def test_splits_go_by_their_names_and_a_configuration_by_its_own(hub, tmp_path):
    some = {"train": slice(2, 38), "validation": slice(0, 40, 39), "test": slice(1, 39, 37)}
    hub.sets["pets"] = {split: hub.rows(take) for split, take in some.items()}
    data = open_data("hf/pets:small", data_root=tmp_path)
    assert [len(split) for split in data.parts.values()] == [36, 2, 2]
    assert len(open_split("hf/pets", "val", data.preprocessing, data_root=tmp_path)) == 2
    assert hub.asked == [("pets", "small"), ("pets", None)]


def test_columns_are_found_by_what_they_hold(hub, tmp_path):
    labels = {"text": FakeLabel(names=["no"]), "label": FakeLabel(names=["x", "y"])}
    hub.sets["pets"] = {"train": hub.rows(photo=FakeImage(), **labels)}
    assert open_data("hf/pets", data_root=tmp_path).classes == ("x", "y")


def test_labels_may_be_words_or_plain_numbers(hub, tmp_path):
    rows = hub.rows()
    rows.features = {"image": FakeImage(), "label": SimpleNamespace()}
    hub.sets["pets"] = {"train": rows}
    assert open_data("hf/pets", data_root=tmp_path).classes == ("0", "1")
    rows.columns["label"] = ["dog"] * 20 + ["cat"] * 20
    data = open_data("hf/pets", data_root=tmp_path)
    assert data.classes == ("cat", "dog")
    assert np.bincount(data.test.labels).tolist() == [4, 4]


def message(name, root):
    with pytest.raises(InputError) as caught:
        open_data(name, data_root=root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_had_is_said_in_one_line(hub, tmp_path, monkeypatch):
    text = message("hf/pets", tmp_path)
    assert text.startswith("cannot fetch 'hf/pets' (Couldn't reach 'pets'); without a network")
    assert str(tmp_path / "hf" / "pets") in text
    hub.sets["pets"] = {"train": hub.rows(image=FakeImage())}
    text = message("hf/pets", tmp_path)
    assert text == "hf/pets train has no column of labels (its columns: image)"
    hub.sets["pets"] = {"train": hub.rows(label=FakeLabel(names=["a"]))}
    assert "no column of images" in message("hf/pets", tmp_path)
    hub.sets["pets"] = {"train": hub.rows(slice(0))}
    assert "holds no images" in message("hf/pets", tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'goodness[hub]'" in message("hf/pets", tmp_path)


def test_a_folder_of_this_name_goes_first(hub, tmp_path, monkeypatch, write_classes):
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "hf" / "pets", {"mine": 10, "yours": 10})
    assert open_data("hf/pets").classes == ("mine", "yours")


@pytest.mark.filterwarnings("ignore")  # of what the library imports
def test_a_data_set_saved_to_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    images = [Image.new("RGB", (6, 6), (row, 9, 200)) for row in range(40)]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    rows = datasets.Dataset.from_dict(
        {"image": images, "label": [row % 2 for row in range(40)]}, features=features
    )
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "hf" / "me" / "pets")
    data = open_data("hf/me/pets", data_root=tmp_path)
    assert data.classes == ("cat", "dog")
    seen = [(images, y) for s in data.parts.values() for images, y in s.batches(64, "cpu")]
    values = torch.cat([images[:, 0, 0, 0] for images, _ in seen])
    assert sorted(values.tolist()) == list(range(40))
    assert torch.equal(torch.cat([y for _, y in seen]), values.long() % 2)
