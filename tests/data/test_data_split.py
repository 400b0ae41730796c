from __future__ import annotations

import numpy as np
import pytest
import torch

from goodness.data import open_data


@pytest.fixture(params=["in memory", "lazy"])
def data(request, tmp_path, write_classes, monkeypatch):
    """40 images whose pixels are their number; both ways of keeping them."""
    if request.param == "lazy":
        monkeypatch.setattr("goodness.data.reading.MEMORY_LIMIT", 100)
    write_classes(tmp_path, {"a": 20, "b": 20})
    data = open_data(tmp_path)
    assert data.train.in_memory == (request.param == "in memory")
    return data


def test_natural_order_serves_all_with_the_last_batch_smaller(data):
    batches = list(data.train.batches(10, "cpu"))
    assert [len(labels) for _, labels in batches] == [10, 10, 8]
    images, labels = batches[0]
    assert images.shape == (10, 1, 6, 6)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert torch.cat([labels for _, labels in batches]).tolist() == data.train.labels.tolist()


def test_labels_belong_to_the_images(data):
    for split in (data.train, data.val, data.test):
        for images, labels in split.batches(5, "cpu"):
            assert (images[:, 0, 0, 0] >= 20).long().tolist() == labels.tolist()


def test_order_is_followed_in_consecutive_slices(data, values):
    natural = values(data.train)
    order = torch.randperm(28, generator=torch.Generator().manual_seed(0))
    batches = list(data.train.batches(10, "cpu", order=order))
    served = torch.cat([images[:, 0, 0, 0] for images, _ in batches]).tolist()
    assert served == [natural[i] for i in order]
    labels = torch.cat([labels for _, labels in batches])
    assert labels.tolist() == data.train.labels[order].tolist()


def test_start_skips_batches(data):
    order = torch.arange(27, -1, -1)
    full = list(data.train.batches(10, "cpu", order=order))
    rest = list(data.train.batches(10, "cpu", order=order, start=2))
    assert len(rest) == 1
    assert torch.equal(rest[0][0], full[2][0])
    assert list(data.train.batches(10, "cpu", order=order, start=3)) == []


def test_writing_to_a_batch_does_not_reach_the_images(data, values):
    before = values(data.train)
    for images, _ in data.train.batches(10, "cpu"):
        images.zero_()
    assert values(data.train) == before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_change_nothing(data):
    here = list(data.train.batches(10, "cpu"))
    there = list(data.train.batches(10, "cpu", num_workers=1))
    assert len(here) == len(there)
    for (images, labels), (other_images, other_labels) in zip(here, there, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_lazy_colour_images_have_the_statistics_of_those_in_memory(
    tmp_path, write_classes, monkeypatch
):
    write_classes(tmp_path, {"a": 20}, mode="RGB")
    write_classes(tmp_path, {"b": 20})  # grey ones among them
    stored = open_data(tmp_path).preprocessing
    monkeypatch.setattr("goodness.data.reading.MEMORY_LIMIT", 28 * 36 * 2)
    lazy = open_data(tmp_path)
    assert not lazy.train.in_memory
    assert lazy.preprocessing == stored
    assert len(set(stored.mean)) == 3


def test_limit_counts_images_channels_and_pixels(tmp_path, write_classes, monkeypatch):
    write_classes(tmp_path, {"a": 20, "b": 20}, mode="RGB")
    monkeypatch.setattr("goodness.data.reading.MEMORY_LIMIT", 40 * 3 * 36)
    assert all(split.in_memory for split in open_data(tmp_path).parts.values())
    monkeypatch.setattr("goodness.data.reading.MEMORY_LIMIT", 40 * 3 * 36 - 1)
    assert not any(split.in_memory for split in open_data(tmp_path).parts.values())


def test_split_does_not_depend_on_the_seed_of_the_run(tmp_path, write_classes, values):
    write_classes(tmp_path, {"a": 30, "b": 30})
    parts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        data = open_data(tmp_path)
        parts.append([values(split) for split in (data.train, data.val, data.test)])
    assert parts[0] == parts[1]
    train, val, test = map(set, parts[0])
    assert not train & val
    assert not train & test
    assert not val & test


def test_split_is_the_one_of_earlier_versions():
    # Another seed or another order would make results of different versions incomparable.
    data = open_data("digits")
    assert data.val.labels[:12].tolist() == [6, 5, 0, 7, 1, 3, 0, 4, 8, 5, 7, 7]
    assert data.test.labels[:12].tolist() == [2, 0, 6, 5, 9, 1, 7, 0, 2, 1, 5, 0]
