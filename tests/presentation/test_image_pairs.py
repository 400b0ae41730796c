"""Pairs of images for self-contrastive learning."""

from __future__ import annotations

import torch

from goodness.presentation import PRESENTATIONS


def make():
    return PRESENTATIONS.make({"name": "image-pairs"}, (1, 4, 4), 3)


def standardised(x):
    return torch.stack([(row - row.mean()) / (row.std() + 1e-10) for row in x])


def test_an_image_with_itself_then_with_another():
    image = torch.randn(50, 1, 4, 4)
    rows = make().training_rows(image, torch.zeros(50, dtype=torch.int64))
    alone = standardised(image)

    torch.testing.assert_close(rows[:50], 2 * alone)
    others = rows[50:] - alone
    partners = torch.cdist(others.flatten(1), alone.flatten(1)).argmin(1)
    torch.testing.assert_close(others, alone[partners])
    assert not (partners == torch.arange(50)).any()
    assert sorted(partners.tolist()) == list(range(50))


def test_later_blocks_pair_anew_from_the_positive_rows():
    rows = torch.randn(20, 3, 2, 2)
    given = make().block_input(rows, training=True)
    alone = standardised(rows[:10])

    torch.testing.assert_close(given[:10], 2 * alone)
    partners = torch.cdist((given[10:] - alone).flatten(1), alone.flatten(1))
    assert (partners.min(1).values < 1e-4).all()


def test_query_rows_are_the_image_twice():
    rows = torch.randn(5, 3, 2, 2)

    torch.testing.assert_close(make().block_input(rows, training=False), 2 * standardised(rows))


def test_images_of_one_pixel_are_finite():
    assert torch.equal(make().query_rows(torch.randn(5, 1, 1, 1)), torch.zeros(5, 1, 1, 1))
