from __future__ import annotations

import numpy as np
import pydantic
import pytest
import torch
from PIL import Image

from goodness.data import Preprocessing, open_data
from goodness.errors import InputError


@pytest.fixture
def preprocessing():
    return Preprocessing(
        channels=3, height=4, width=6, mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 0.2], classes=["a"]
    )


def test_survives_json(preprocessing):
    text = preprocessing.model_dump_json()
    assert Preprocessing.model_validate_json(text) == preprocessing


def test_unknown_keys_are_refused(preprocessing):
    with pytest.raises(pydantic.ValidationError):
        Preprocessing(**preprocessing.model_dump(), colour=True)


def test_apply_scales_and_normalises(preprocessing):
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 6)
    scaled = preprocessing.scaled(images)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled[1, :, 2, 3], torch.tensor([0.0, 1.0, 0.2]))
    normal = preprocessing.apply(images)
    torch.testing.assert_close(normal[1, :, 2, 3], torch.tensor([-0.2, 3.2, -0.5]))
    assert torch.equal(normal, preprocessing.normalized(scaled))
    as_they_are = preprocessing.model_copy(update={"normalize": False})
    assert torch.equal(as_they_are.apply(images), scaled)


def test_images_of_every_kind_become_one_tensor(tmp_path, preprocessing):
    image = Image.effect_noise((9, 7), 80)
    image.save(tmp_path / "noise.png")
    pixels = preprocessing.load(tmp_path / "noise.png")
    expected = preprocessing.apply(pixels[None])

    given = [tmp_path / "noise.png", str(tmp_path / "noise.png"), image, pixels]
    given += [np.asarray(image), np.asarray(image)[:, :, None], pixels / 255]
    given += [(pixels.permute(1, 2, 0) / 255).numpy()]
    for one in (*given, [given[0]], pixels[None], pixels[None] / 255, np.asarray(image)[None]):
        assert torch.equal(preprocessing(one), expected)
    assert torch.equal(preprocessing(given), expected.expand(8, 3, 4, 6))
    assert preprocessing([]).shape == (0, 3, 4, 6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            torch.zeros(3, 4, 5, dtype=torch.uint8),
            r"an image of \(3, 4, 5\), .*\(3, 4, 6\) are needed",
        ),
        (torch.zeros(2, 3, 4, 6, dtype=torch.int32), r"of \(2, 3, 4, 6\), torch.int32: uint8 or"),
        (torch.full((3, 4, 6), 1.5), r"of floats from 1.5 to 1.5: they are to lie in \[0, 1\]"),
        (np.zeros((1, 4, 6, 5), np.uint8), r"\(4, 6, 5\) is no image"),
        (Image.new("F", (6, 4)), "image of floats"),
    ],
)
def test_what_is_no_image_of_its_form_is_refused(preprocessing, image, message):
    with pytest.raises(InputError, match=message):
        preprocessing(image)


def test_a_network_of_other_floats_takes_no_pixels(tmp_path, preprocessing):
    own = preprocessing.model_copy(update={"pixels": False})
    floats = torch.full((3, 4, 6), -7.0)
    assert torch.equal(own(floats), own.normalized(floats[None]))
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    for image, says in (
        (tmp_path / "a.png", "trained on tensors that no file has"),
        (torch.zeros(3, 4, 6, dtype=torch.uint8), "trained on floats of another range"),
        (np.zeros((4, 6, 3), np.uint8), "trained on floats of another range"),
    ):
        with pytest.raises(InputError, match=says):
            own(image)


def test_statistics_are_those_of_the_training_part_alone(tmp_path, write_classes):
    write_classes(tmp_path / "train", {"a": 20, "b": 20}, mode="RGB")
    write_classes(tmp_path / "test", {"a": 5, "b": 5}, mode="RGB", first=200)
    data = open_data(tmp_path, val_fraction=0.5)
    images = np.concatenate([batch.numpy() for batch, _ in data.train.batches(3, "cpu")]) / 255
    np.testing.assert_allclose(data.preprocessing.mean, images.mean((0, 2, 3)), atol=1e-12)
    # The second channel is 0 everywhere; its deviation is kept from dividing by nothing.
    expected = np.maximum(images.std((0, 2, 3)), 1 / 255)
    np.testing.assert_allclose(data.preprocessing.std, expected, atol=1e-12)


def test_standardised_training_images_have_mean_0_and_deviation_1():
    data = open_data("digits")
    images, _ = next(data.train.batches(len(data.train), "cpu"))
    standard = data.preprocessing.apply(images)
    assert abs(standard.mean()) < 1e-5
    assert abs(standard.std() - 1) < 1e-4


def test_load_gives_one_file_in_the_form_of_training(tmp_path, preprocessing):
    image = Image.new("L", (8, 12), 50)  # lies on its side: 12x8 upright
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.png", exif=exif)
    pixels = preprocessing.load(tmp_path / "photo.png")
    assert (pixels.shape, pixels.dtype) == ((3, 4, 6), torch.uint8)
    assert (pixels == 50).all()


def test_load_agrees_with_training(tmp_path, write_classes):
    write_classes(tmp_path, {"a": 10, "b": 10}, size=(9, 7))
    Image.effect_noise((20, 30), 80).save(tmp_path / "a" / "000.png")
    data = open_data(tmp_path, image_size=5)
    loaded = data.preprocessing.load(tmp_path / "a" / "000.png")
    parts = (data.train, data.val, data.test)
    images = torch.cat([images for part in parts for images, _ in part.batches(99, "cpu")])
    assert (images == loaded).flatten(1).all(1).sum() == 1


def test_load_names_a_bad_file(tmp_path, preprocessing):
    with pytest.raises(InputError, match=r"cannot read the image .*missing\.png"):
        preprocessing.load(tmp_path / "missing.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"cannot read the image .*bad\.png"):
        preprocessing.load(tmp_path / "bad.png")


def test_an_array_with_channels_first_is_an_image_of_the_network_s_size():
    preprocessing = Preprocessing(
        channels=3, height=8, width=9, mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 0.2], classes=["a"]
    )
    images = np.random.default_rng(0).integers(0, 255, (2, 3, 8, 9), dtype=np.uint8)
    expected = preprocessing(torch.from_numpy(images))
    assert torch.equal(preprocessing(images), expected)
    assert torch.equal(preprocessing(images[0]), expected[:1])
    assert torch.equal(preprocessing(images.transpose(0, 2, 3, 1)), expected)
    assert torch.equal(preprocessing(images[0].transpose(1, 2, 0)), expected[:1])
