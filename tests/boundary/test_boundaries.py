"""A block's output, against plain loops."""

from __future__ import annotations

import pytest
import torch

from goodness.boundary import BOUNDARIES


def make(name, num_classes=3, **options):
    return BOUNDARIES.make(BOUNDARIES.resolve({"name": name, **options}), num_classes)


@pytest.fixture
def x():
    return torch.randn(4, 7, 3, 2, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_layer_norm_is_per_row(x):
    for row, expected in zip(make("layer-norm")(x), x, strict=True):
        values = expected.flatten()
        centred = expected - values.mean()
        torch.testing.assert_close(row, centred / values.var(correction=0).sqrt())


def test_group_rms_is_per_row_and_class_group(x):
    for row, expected in zip(make("group-rms")(x), x, strict=True):
        for group in ([0, 1, 2], [3, 4], [5, 6]):
            power = expected[group].square().mean((1, 2)).mean()
            torch.testing.assert_close(row[group], expected[group] / power.sqrt())


@pytest.mark.parametrize("classes", [3, 7, 9])
def test_group_norm_is_per_row_and_class_group(x, classes):
    for row, expected in zip(make("group-norm", classes)(x), x, strict=True):
        groups = ([0, 1, 2], [3, 4], [5, 6]) if classes == 3 else ([c] for c in range(7))
        for group in groups:
            values = expected[group]
            root = (values.var(correction=0) + 1e-5).sqrt()
            torch.testing.assert_close(row[group], (values - values.mean()) / root)


def test_triangle_keeps_what_exceeds_the_channels_mean(x):
    found = make("triangle")(x)
    for n in range(4):
        for i in range(3):
            for j in range(2):
                mean = sum(x[n, :, i, j].tolist()) / 7
                expected = [max(0.0, v - mean) for v in x[n, :, i, j].tolist()]
                torch.testing.assert_close(found[n, :, i, j], torch.tensor(expected))


@pytest.mark.parametrize("name", sorted(BOUNDARIES))
def test_rows_are_treated_one_by_one(name, x):
    boundary = make(name).eval()

    torch.testing.assert_close(boundary(x)[2:3], boundary(x[2:3]))


def test_whole_channels_are_dropped():
    torch.manual_seed(0)
    kept = make("identity", dropout=0.5, whole_channels=True).train()(torch.ones(8, 16, 3, 3))

    assert set(kept.flatten(2).sum(2).flatten().tolist()) == {0.0, 18.0}
