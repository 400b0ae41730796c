from __future__ import annotations

import sys

import numpy as np
import pydantic
import pytest
import torch

from goodness.data import Augmentation, AugmentConfig
from goodness.data.augmentation import Flips, random_crop_flip
from goodness.errors import InputError

EVERYTHING = {
    "crop": 2,
    "flip": True,
    "jitter": (0.4, 0.4, 0.4, 0.1),
    "grayscale": 0.5,
    "cutout": 3,
}


def same_images(shape, count=64):
    """One random image, many times over."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).expand(count, *shape)


def augment(shape=(3, 8, 8), count=64, seed=1, **config):
    augmentation = Augmentation(AugmentConfig(**config), shape)
    torch.manual_seed(seed)
    return augmentation(same_images(shape, count))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (3, 6, 10)])
def test_everything_at_once(shape):
    images = augment(shape, **EVERYTHING)
    assert images.shape == (64, *shape)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_off_by_default():
    assert torch.equal(augment(), same_images((3, 8, 8)))


@pytest.mark.parametrize("key", [*EVERYTHING, "all"])
def test_images_of_one_batch_vary_differently(key):
    config = EVERYTHING if key == "all" else {key: EVERYTHING[key]}
    images = augment(**config)
    assert len(images.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("key", [*EVERYTHING, "all"])
def test_the_seed_decides(key):
    config = EVERYTHING if key == "all" else {key: EVERYTHING[key]}
    assert torch.equal(augment(**config), augment(**config))
    assert not torch.equal(augment(**config), augment(**config, seed=2))


def test_crop_shifts_over_zeros():
    image = torch.arange(1.0, 26).view(1, 1, 5, 5)
    padded = torch.nn.functional.pad(image, [2] * 4)[0, 0]
    windows = {
        (top, left): padded[top : top + 5, left : left + 5] for top in range(5) for left in range(5)
    }
    torch.manual_seed(0)
    cropped = random_crop_flip(image.expand(500, 1, 5, 5), 2, flip=False)
    found = {
        place
        for crop in cropped
        for place, window in windows.items()
        if torch.equal(crop[0], window)
    }
    assert all(any(torch.equal(crop[0], w) for w in windows.values()) for crop in cropped)
    assert len(found) == 25  # every shift occurs


def test_flip_mirrors_about_half_left_to_right():
    images = same_images((3, 4, 6), 400)
    torch.manual_seed(0)
    flipped = random_crop_flip(images, 0, flip=True)
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_channels_move_together():
    grey = torch.rand(1, 1, 8, 8).expand(32, 3, 8, 8)
    moved = random_crop_flip(grey, 3, flip=True)
    assert torch.equal(moved, moved[:, :1].expand_as(moved))


@pytest.mark.parametrize(("shape", "side"), [((1, 8, 8), 3), ((3, 6, 10), 5), ((3, 8, 8), 1)])
def test_cutout_is_a_square(shape, side):
    places = set()
    for image in augment(shape, cutout=side):
        cut = (image == 0.5).all(0)
        rows, columns = cut.any(1).nonzero().flatten(), cut.any(0).nonzero().flatten()
        assert len(rows) == len(columns) == side
        assert cut.sum() == side * side
        places.add((int(rows[0]), int(columns[0])))
    assert len(places) > 5


def test_cutout_as_large_as_the_image():
    assert (augment((3, 8, 8), cutout=99) == 0.5).all()


def test_grayscale_makes_channels_equal_with_its_probability():
    images = augment(count=400, grayscale=0.25)
    grey = (images - images[:, :1]).abs().flatten(1).amax(1) < 1e-6
    assert 60 < grey.sum() < 140


def test_grayscale_leaves_grey_images_alone():
    assert torch.equal(augment((1, 8, 8), grayscale=1.0), same_images((1, 8, 8)))


def test_jitter_of_grey_images_changes_their_brightness():
    images = augment((1, 8, 8), jitter=(0.5, 0, 0, 0))
    means = images.mean((1, 2, 3))
    assert means.std() > 0.05
    # Without brightness and contrast there is nothing to change on a grey image.
    still = augment((1, 8, 8), jitter=(0, 0, 0.5, 0.5))
    torch.testing.assert_close(still, same_images((1, 8, 8)).contiguous())


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": -1},
        {"crop": 1.5},
        {"crop": -0.5},
        {"grayscale": 1.5},
        {"jitter": (0.1, 0.1, 0.1, 0.6)},
        {"jitter": (-0.1, 0, 0, 0)},
        {"cutout": -2},
        {"mirror": True},
        {"flip": "sometimes"},
        {"padding": "edge"},
    ],
)
def test_bad_options_are_refused(wrong):
    with pytest.raises(pydantic.ValidationError):
        AugmentConfig(**wrong)


def test_crop_and_flip_do_without_kornia(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)  # importing it fails
    augment((1, 8, 8), crop=4, flip=True, grayscale=0.5)
    with pytest.raises(ImportError):
        augment((1, 8, 8), cutout=1)


@pytest.mark.parametrize(("padding", "mode"), [("zeros", "constant"), ("reflect", "reflect")])
def test_a_crop_is_padded_as_numpy_does_it(padding, mode):
    image = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0))
    padded = np.pad(image.numpy(), [(0, 0), (2, 2), (2, 2)], mode)
    windows = {padded[:, i : i + 5, j : j + 6].tobytes() for i in range(5) for j in range(5)}

    augmentation = Augmentation(AugmentConfig(crop=2, padding=padding), (2, 5, 6))
    found = {crop.numpy().tobytes() for crop in augmentation(image.expand(500, 2, 5, 6))}

    assert found == windows


def test_a_reflection_needs_as_many_pixels():
    Augmentation(AugmentConfig(crop=5, padding="reflect"), (3, 8, 6))
    with pytest.raises(InputError, match=r"augment.crop: 6 .* sides of 6 \(use at most 5, or"):
        Augmentation(AugmentConfig(crop=6, padding="reflect"), (3, 8, 6))


@pytest.mark.parametrize(
    ("share", "shape", "pixels"),
    [(0.125, (3, 32, 48), 4), (0.2, (1, 9, 8), 2), (0.01, (1, 8, 8), 1)],
)
def test_a_crop_may_be_in_proportion_to_the_image(share, shape, pixels):
    assert augment(shape, crop=share).equal(augment(shape, crop=pixels))
    assert not augment(shape, crop=share).equal(augment(shape, crop=pixels + 1))


def test_which_images_are_mirrored_can_be_said():
    images, mirrored = torch.rand(20, 3, 4, 6), torch.arange(20) % 3 == 0
    augmentation = Augmentation(AugmentConfig(flip="alternate"), (3, 4, 6))

    found = augmentation(images, mirrored)

    for image, own, flipped in zip(images, found, mirrored, strict=True):
        assert torch.equal(own, image.flip(2) if flipped else image)
    # Nobody has said it: each one with probability 1/2.
    drawn = (augmentation(same_images((3, 4, 6), 400)) == same_images((3, 4, 6), 400)).flatten(1)
    assert 150 < drawn.all(1).sum() < 250


def test_flips_alternate():
    flips, rows = Flips(400, seed=3), torch.tensor([7, 1, 399])
    every = torch.arange(400)
    first = flips.at(every, 0)

    assert 150 < first.sum() < 250
    for number in range(5):
        assert torch.equal(flips.at(every, number), first if number % 2 == 0 else ~first)
        assert torch.equal(flips.at(rows, number), flips.at(every, number)[rows])
    assert torch.equal(Flips(400, seed=3).at(every, 0), first)
    assert not torch.equal(Flips(400, seed=4).at(every, 0), first)
