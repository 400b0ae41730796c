"""Labels written into images: positives, negatives, queries and the neutral row."""

from __future__ import annotations

import math

import pytest
import torch

from goodness import InputError, build
from goodness.presentation import PRESENTATIONS
from goodness.presentation.fourier import wave_vectors
from helpers import learner_of, random_batch, step_at, tiny_network

NAMES = ["label-pixels", "fourier", "morphology", "label-channel"]
IMAGE = (2, 8, 8)

labelled = pytest.mark.parametrize("name", NAMES)


def make(name, image_shape=IMAGE, num_classes=5, **options):
    part = PRESENTATIONS.resolve({"name": name, **options})
    return PRESENTATIONS.make(part, image_shape, num_classes)


def images(count=6, shape=IMAGE):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


@labelled
def test_no_negative_ever_has_the_true_label(name):
    presentation = make(name, num_classes=3)
    image, y = images(300), torch.arange(300) % 3
    drawn = set()

    rows = presentation.training_rows(image, y)
    queried = presentation.query_rows(image).unflatten(0, (300, 3))

    for n in range(300):
        assert torch.equal(rows[n], queried[n, y[n]])
        wrong = [k for k in range(3) if torch.equal(rows[300 + n], queried[n, k])]
        assert wrong
        assert y[n] not in wrong
        drawn |= {(int(y[n]), k) for k in wrong}
    assert len(drawn) == 6  # every wrong label occurs


@labelled
def test_queries_are_in_the_order_of_images_then_classes(name):
    presentation = make(name)
    image = images()

    queried = presentation.query_rows(image)

    assert len(queried) == 6 * 5
    for n in range(6):
        for k in range(5):
            row = presentation.query_rows(image[n : n + 1])[k]
            torch.testing.assert_close(queried[n * 5 + k], row)


@labelled
def test_the_labels_of_an_image_and_the_neutral_row_all_differ(name):
    presentation = make(name)
    image = images(2)

    neutral, queried = presentation.neutral_rows(image), presentation.query_rows(image)

    assert neutral.shape == (2, *queried.shape[1:])
    rows = [*queried[:5], neutral[0]]
    for k in range(6):
        assert all(not torch.allclose(rows[k], rows[other]) for other in range(k))


@labelled
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 16, 17)])
def test_a_hundred_classes(name, shape):
    presentation = make(name, shape, num_classes=100)
    queried = presentation.query_rows(images(1, shape)).flatten(1)

    distances = torch.cdist(queried, queried) + 100 * torch.eye(100)
    assert distances.min() > 1e-3


@pytest.mark.parametrize("name", ["label-pixels", "fourier", "morphology"])
def test_more_classes_than_it_can_show_are_refused(name):
    most = PRESENTATIONS[name].max_classes((1, 6, 6), {})
    model = {"name": "small-cnn", "widths": [4, 4], "pools": []}
    values = {"image_shape": (1, 6, 6), "model": model, "presentation": name}

    build("ff-cnn", num_classes=most, **values)
    with pytest.raises(InputError, match=f"'{name}' can serve at most {most} classes"):
        build("ff-cnn", num_classes=most + 1, **values)


def test_label_pixels_overwrite_the_first_row_of_every_channel():
    image = images(2)
    rows = make("label-pixels", value=3.0, norm="none").query_rows(image).unflatten(0, (2, 5))

    for k in range(5):
        expected = image[1].clone()
        expected[:, 0, :5] = 0
        expected[:, 0, k] = 3.0
        assert torch.equal(rows[1, k], expected)
    neutral = make("label-pixels", value=3.0, norm="none").neutral_rows(image)
    torch.testing.assert_close(neutral[:, :, 0, :5], torch.full((2, 2, 5), 0.6))


@pytest.mark.parametrize(("mix", "kept"), [("blend", 0.6), ("add", 1.0)])
def test_fourier_labels_are_plane_waves(mix, kept):
    image = images(1, (1, 8, 12))
    presentation = make("fourier", (1, 8, 12), mix=mix, intensity=0.4, norm="none")
    rows = presentation.query_rows(image)

    for k, (u, v) in enumerate(wave_vectors(8, 12)[:5]):
        for i in range(8):
            for j in range(12):
                wave = 0.5 + 0.5 * math.cos(2 * math.pi * (u * i / 8 + v * j / 12))
                expected = kept * image[0, 0, i, j].item() + 0.4 * wave
                assert rows[k, 0, i, j].item() == pytest.approx(expected, abs=1e-6)


def test_fourier_patterns_are_orthogonal_so_that_no_class_is_another_s_mixture():
    patterns = make("fourier", (1, 16, 16), num_classes=100).patterns.flatten(1) - 0.5
    gram = patterns @ patterns.T

    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), rtol=0, atol=1e-4)


def test_morphology_dilates_and_erodes_along_a_line():
    dot = torch.zeros(1, 1, 8, 8)
    dot[..., 4, 4] = 1.0
    rows = make("morphology", (1, 8, 8), num_classes=8, norm="none").query_rows(dot)[:, 0]

    expected = torch.zeros(8, 8)
    expected[4, 3:6] = 1.0
    assert torch.equal(rows[0], expected)  # dilation, horizontal
    assert rows[1].sum() == 0  # erosion
    upright = torch.zeros(8, 8)
    upright[3:6, 4] = 1.0
    assert torch.equal(rows[7], upright)  # dilation, vertical


@pytest.mark.parametrize("name", ["label-pixels", "fourier", "morphology"])
@pytest.mark.parametrize(("norm", "mean"), [("rms", False), ("layer", True)])
def test_rows_are_normalised_label_and_all(name, norm, mean):
    rows = make(name, norm=norm).query_rows(images()).flatten(1)

    torch.testing.assert_close(rows.square().mean(1), torch.ones(30), rtol=1e-3, atol=1e-3)
    assert (rows.mean(1).abs().max() < 1e-5) == mean


def test_label_pictures_are_learnt_with_the_first_block():
    model = {"name": "small-cnn", "widths": [4, 5, 6], "pools": []}
    network = tiny_network("trifecta", num_classes=3, model=model)
    pictures = network.presentation.pictures
    learner = learner_of(network, (4, 1))
    before = pictures.clone()

    step_at(learner, 1, *random_batch(6, num_classes=3))

    assert [o for o, ps in learner.parameters.items() if pictures in set(ps)] == ["0", "1"]
    assert not torch.equal(before, pictures)


@pytest.mark.parametrize(("norm", "mean"), [("none", None), ("rms", False), ("layer", True)])
def test_plain_images_are_normalised_one_by_one(norm, mean):
    rows = make("plain", norm=norm).query_rows(images())
    if mean is None:
        assert torch.equal(rows, images())
        return
    powers, means = rows.square().mean((1, 2, 3)), rows.mean((1, 2, 3))
    torch.testing.assert_close(powers, torch.ones(len(rows)), rtol=1e-3, atol=1e-3)
    assert (means.abs().max() < 1e-5) == mean
