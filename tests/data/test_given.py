"""Data that a program gives: arrays, tensors, torch data sets and loaders."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from goodness.data import open_data, open_split
from goodness.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 9, 7, 3)).astype(np.uint8)
LABELS = np.arange(60) % 3


class Items(Dataset):
    """Images with labels, changed by a function."""

    def __init__(self, make, count=60):
        self.make, self.count = make, count

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        return self.make(row), int(LABELS[row])


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


def tensors(split):
    """All images and labels of a split, in order."""
    batches = list(split.batches(7, "cpu"))
    return torch.cat([images for images, _ in batches]), torch.cat([y for _, y in batches])


def alike(one, other):
    return all(
        torch.equal(a, b)
        for part in ("train", "val", "test")
        for a, b in zip(tensors(one.parts[part]), tensors(other.parts[part]), strict=True)
    )


def message(data, **options):
    with pytest.raises(InputError) as caught:
        open_data(data, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_every_form_of_the_same_pixels_gives_the_same_data():
    whole = open_data((PIXELS, LABELS))
    channels_first = PIXELS.transpose(0, 3, 1, 2)
    forms = [
        (torch.tensor(channels_first), torch.tensor(LABELS)),
        (channels_first, LABELS.tolist()),
        TensorDataset(torch.tensor(channels_first), torch.tensor(LABELS)),
        Items(lambda row: Image.fromarray(PIXELS[row])),
        Items(lambda row: torch.tensor(channels_first[row])),
        Items(lambda row: PIXELS[row]),
        DataLoader(Items(lambda row: torch.tensor(channels_first[row])), 8, shuffle=True),
        {"train": (PIXELS, LABELS)},
    ]
    assert whole.train.image_shape == (3, 9, 7)
    assert whole.classes == ("0", "1", "2")
    for form in forms:
        data = open_data(form)
        assert alike(data, whole)
        assert data.preprocessing == whole.preprocessing
        assert data.fingerprint.splits.keys() == whole.fingerprint.splits.keys()
    # What is in every part is what was given, and nothing is lost.
    seen = torch.cat([tensors(split)[0] for split in whole.parts.values()])
    assert {image.numpy().tobytes() for image in seen} == {
        np.ascontiguousarray(image).tobytes() for image in channels_first
    }


def test_pixels_are_brought_to_a_size_as_files_are(tmp_path):
    for row in range(60):
        (tmp_path / f"c{LABELS[row]}").mkdir(exist_ok=True)
        Image.fromarray(PIXELS[row]).save(tmp_path / f"c{LABELS[row]}" / f"{row:03}.png")
    rows = np.argsort(LABELS, kind="stable")
    names = np.array(["c0", "c1", "c2"])[LABELS[rows]]
    assert alike(open_data((PIXELS[rows], names), image_size=5), open_data(tmp_path, image_size=5))


def test_grey_arrays():
    flat = PIXELS[..., 0]
    for grey in (flat, flat[..., None], torch.tensor(flat), torch.tensor(flat)[:, None]):
        data = open_data((grey, LABELS))
        assert data.train.image_shape == (1, 9, 7)
        assert alike(data, open_data((flat, LABELS)))


@pytest.mark.parametrize(
    ("low", "high", "pixels"), [(0.0, 1.0, True), (-1.0, 1.0, False), (0.0, 16.0, False)]
)
def test_floats_are_kept_as_they_are(low, high, pixels):
    images = torch.linspace(low, high, 60 * 2 * 16, dtype=torch.float64).view(60, 2, 4, 4)
    arrays = open_data((images, LABELS))
    items = open_data(Items(lambda row: images[row]))

    found, labels = tensors(arrays.train)
    assert found.dtype == torch.float32
    assert arrays.preprocessing.pixels is pixels
    assert torch.equal(found, torch.stack([images[i].float() for i in rows_of(found, images)]))
    assert labels.tolist() == [int(LABELS[i]) for i in rows_of(found, images)]
    assert alike(arrays, items)
    for data in (arrays, items):
        np.testing.assert_allclose(data.preprocessing.mean, found.mean((0, 2, 3)), rtol=1e-5)
        expected = found.double().std((0, 2, 3), correction=0)
        np.testing.assert_allclose(data.preprocessing.std, expected, rtol=1e-5)
    normal = arrays.preprocessing.apply(found)
    assert normal.mean().abs() < 1e-5


def rows_of(found, images):
    """Which of the images each one is."""
    return [int((images.float() - image).abs().sum((1, 2, 3)).argmin()) for image in found]


def test_parts_may_be_given_and_have_their_names():
    parts = {"train": (PIXELS, LABELS), "valid": (PIXELS[:6], LABELS[:6])}
    data = open_data({**parts, "test": Items(lambda row: PIXELS[row], count=9)})
    assert (len(data.train), len(data.val), len(data.test)) == (60, 6, 9)
    assert data.given
    assert not open_data("digits").given
    split = open_split(parts, "val", data.preprocessing)
    assert torch.equal(tensors(split)[0], tensors(data.val)[0])


def test_a_data_set_s_class_names_are_used_whatever_part_of_it_is_given():
    items = Items(lambda row: torch.tensor(PIXELS[row]).permute(2, 0, 1))
    items.classes = ["cat", "dog", "owl", "never seen"]
    data = open_data(Subset(items, range(50)), val_fraction=0.2)
    assert data.classes == tuple(items.classes)


def test_random_transforms_draw_anew_for_every_order_and_the_same_in_the_same():
    def noisy(row):
        draws = torch.rand(1).item(), np.random.rand(), random.random()
        return torch.tensor(draws).view(3, 1, 1).expand(3, 2, 2)

    data = open_data(Items(noisy))
    order = torch.arange(len(data.train)).flip(0)

    def served(order, **options):
        return torch.cat([x for x, _ in data.train.batches(8, "cpu", order=order, **options)])

    whole = served(order)
    assert torch.equal(served(order), whole)
    assert torch.equal(served(order, start=2), whole[16:])  # as in a run that is resumed
    assert torch.equal(served(order, num_workers=1), whole)
    assert not torch.isclose(served(order.roll(1)), whole).any()
    assert len(whole.unique()) == 3 * len(whole)


def test_a_loader_s_own_way_to_make_batches_is_used():
    def collate(items):
        images = torch.stack([torch.full((1, 4, 4), value / 60) for value, _ in items])
        return images, [label for _, label in items]

    loader = DataLoader(Items(float), 8, collate_fn=collate)
    data = open_data(loader)
    images, _ = tensors(data.train)
    assert data.train.image_shape == (1, 4, 4)
    assert not data.train.in_memory
    assert len(images.unique()) == len(data.train)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (3, "of type int: a name, a folder, arrays"),
        ((PIXELS, LABELS[:5]), "60 images, but 5 labels"),
        ((PIXELS, LABELS * 0.5), "float64; (N,) numbers from 0 or names"),
        ((PIXELS, LABELS - 1), "label -1 of image 0 is below 0"),
        ((PIXELS, LABELS + 10**6), "far above the number of images"),
        ((PIXELS.astype(np.int64), LABELS), "images are torch.int64; uint8 or floats"),
        ((PIXELS[0, 0], LABELS[:7]), "of shape (7, 3); (N, C, H, W) is needed"),
        ((np.full((60, 4, 4), np.nan), LABELS), "hold NaN or infinity"),
        (("some", "words"), "of type str are no array of numbers"),
        (Stream(), "is an IterableDataset"),
        (DataLoader(Stream(), 8), "is an IterableDataset"),
        (
            DataLoader(Items(float), 8, sampler=WeightedRandomSampler([1.0] * 60, 60)),
            "a WeightedRandomSampler, which a run cannot follow",
        ),
        (Items(float), "is a float; an image (C, H, W) is needed"),
        (Items(lambda row: torch.zeros(3, 4 + row // 30, 4)), "need one"),
        (Items(float, count=0), "there are no images"),
        (TensorDataset(torch.zeros(9, 3, 4, 4)), "is of type tuple: a name"),
        ({"train": (PIXELS, LABELS), "trial": (PIXELS, LABELS)}, "unknown part of the data"),
        ({"test": (PIXELS, LABELS)}, "no training images"),
        ({}, "no parts"),
    ],
)
def test_what_is_no_data_is_refused(data, says):
    assert says in message(data)


def test_tensors_are_not_resized():
    floats = torch.rand(60, 3, 8, 8)
    assert "(3, 8, 8), and (3, 5, 5) is needed" in message((floats, LABELS), image_size=5)


def test_the_name_of_given_data_says_that_it_has_to_be_given():
    assert "give it again" in message("given/arrays")
