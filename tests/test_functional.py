from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch

from goodness.functional import goodness_grid, pooled_squares, rms_normalise


def slow_pooled_squares(h, size):
    """Loops over the cells; cell i covers the pixels floor(i H / P) to ceil((i + 1) H / P)."""
    count, channels, height, width = h.shape
    rows = []
    for n in range(count):
        row = []
        for c in range(channels):
            for i in range(size):
                for j in range(size):
                    top, bottom = i * height // size, math.ceil((i + 1) * height / size)
                    left, right = j * width // size, math.ceil((j + 1) * width / size)
                    cell = [
                        h[n, c, y, x].item() ** 2
                        for y in range(top, bottom)
                        for x in range(left, right)
                    ]
                    row.append(sum(cell) / len(cell))
        rows.append(row)
    return torch.tensor(rows, dtype=h.dtype)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(4, 4, 1), (4, 4, 2), (4, 4, 4), (6, 4, 2), (7, 5, 3), (5, 5, 2), (4, 6, 3), (1, 1, 1)],
)
def test_pooled_squares_are_mean_squares_of_cells(height, width, size, layout):
    h = torch.randn(2, 3, height, width, dtype=torch.double).to(memory_format=layout)

    pooled = pooled_squares(h, size)

    assert pooled.shape == (2, 3 * size * size)
    torch.testing.assert_close(pooled, slow_pooled_squares(h, size))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("height", "width", "size"), [(4, 4, 2), (6, 4, 2), (5, 4, 3), (3, 3, 1)])
def test_pooled_squares_have_the_right_gradient(height, width, size, layout):
    h = torch.randn(2, 3, height, width, dtype=torch.double).to(memory_format=layout)

    assert torch.autograd.gradcheck(lambda x: pooled_squares(x, size), h.requires_grad_())


def test_pooled_squares_gradient_has_the_shape_of_the_map():
    h = torch.randn(2, 3, 4, 6, requires_grad=True)

    pooled_squares(h, 2).sum().backward()

    # Every pixel is in one cell of 2 x 3 pixels: d/dh of h^2 / 6.
    torch.testing.assert_close(h.grad, h.detach() * 2 / 6)


def test_rms_normalise_divides_every_sample_by_its_own_root_mean_square():
    x = torch.randn(3, 2, 4, 5, dtype=torch.double) * torch.tensor([0.1, 1, 50]).view(3, 1, 1, 1)

    normalised = rms_normalise(x)

    for before, after in zip(x, normalised, strict=True):
        root = math.sqrt(sum(v * v for v in before.flatten().tolist()) / before.numel())
        torch.testing.assert_close(after, before / (root + 1e-8))


def test_rms_normalise_neither_centres_nor_breaks_on_zeros():
    x = torch.stack([torch.full((1, 2, 2), 3.0), torch.zeros(1, 2, 2)])

    normalised = rms_normalise(x)

    torch.testing.assert_close(normalised[0], torch.ones(1, 2, 2))
    assert torch.equal(normalised[1], torch.zeros(1, 2, 2))


def test_rms_normalise_keeps_a_zero_sample_at_zero_with_the_code_s_tiny_eps():
    # e^-50 in float32: larger than the smallest normal number, so that 0 / eps is 0, not NaN.
    assert torch.equal(rms_normalise(torch.zeros(1, 1, 2, 2), 1.9e-22), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(("channels", "grid"), [(64, 8), (128, 4), (256, 2), (512, 1)])
def test_goodness_grid_reproduces_the_paper_s_table(channels, grid):
    # C_ref = 512 and alpha = 1: C * P stays at 512.
    assert goodness_grid(channels, 512, 1.0, 32, 32) == grid


@pytest.mark.parametrize(
    ("channels", "reference", "alpha", "height", "width", "grid"),
    [
        (64, 512, 1.0, 4, 32, 4),  # no more cells than rows of pixels
        (64, 512, 1.0, 32, 3, 3),  # nor than columns
        (512, 64, 1.0, 8, 8, 1),  # never below 1
        (100, 250, 1.0, 32, 32, 3),  # 2.5 rounds up ...
        (100, 350, 1.0, 32, 32, 4),  # ... as 3.5 does
        (100, 249, 1.0, 32, 32, 2),
        (128, 512, 2.0, 32, 32, 8),  # alpha scales it
        (128, 512, 0.5, 32, 32, 2),
    ],
)
def test_goodness_grid_rounds_and_clamps(channels, reference, alpha, height, width, grid):
    assert goodness_grid(channels, reference, alpha, height, width) == grid


@pytest.mark.parametrize("module", ["goodness.functional", "goodness.engine.rates"])
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(importlib.import_module(module))

    assert result.attempted > 0
    assert result.failed == 0
