from __future__ import annotations

import doctest
import importlib
import math
import warnings

import pytest
import torch
from torch.autograd import forward_ad

from goodness.functional import (
    class_goodness,
    dropout,
    goodness_grid,
    group_normalise,
    in_memory_order,
    layer_normalise,
    pooled_squares,
    rms_normalise,
    standardise_rows,
)

LAYOUTS = [torch.contiguous_format, torch.channels_last]


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


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(4, 4, 1), (4, 4, 2), (4, 4, 4), (6, 4, 2), (7, 5, 3), (5, 5, 2), (4, 6, 3), (1, 1, 1)],
)
def test_pooled_squares_are_mean_squares_of_cells(height, width, size, layout):
    h = torch.randn(2, 3, height, width, dtype=torch.double).to(memory_format=layout)

    pooled = pooled_squares(h, size)

    assert pooled.shape == (2, 3 * size * size)
    torch.testing.assert_close(pooled, slow_pooled_squares(h, size))


@pytest.mark.parametrize("layout", LAYOUTS)
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "normalise",
    [rms_normalise, layer_normalise, standardise_rows, lambda x: group_normalise(x, 2)],
    ids=["rms", "layer", "rows", "group"],
)
def test_normalising_survives_half_precision(normalise, dtype):
    # Squares of 300 overflow in fp16, and eps = 1e-8 is zero there.
    x = torch.cat([torch.randn(1, 4, 8, 8) * 300, torch.zeros(1, 4, 8, 8)]).to(dtype)

    normalised = normalise(x)

    assert normalised.dtype == dtype
    torch.testing.assert_close(normalised, normalise(x.float()).to(dtype), rtol=1e-2, atol=1e-3)
    assert torch.equal(normalised[1], torch.zeros(4, 8, 8, dtype=dtype))
    assert normalised[0].float().square().mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("normalise", [rms_normalise, layer_normalise])
def test_normalising_keeps_the_layout_and_does_not_depend_on_it(normalise, layout):
    x = torch.randn(3, 5, 4, 2, dtype=torch.double)

    normalised = normalise(x.to(memory_format=layout))

    assert normalised.is_contiguous(memory_format=layout)
    torch.testing.assert_close(normalised, normalise(x))
    gaps = torch.randn(3, 5, 8, 2, dtype=torch.double)[:, :, ::2]
    torch.testing.assert_close(normalise(gaps), normalise(gaps.contiguous()))


def test_layer_normalise_against_loops():
    x = torch.randn(3, 2, 4, 5, dtype=torch.double) * 3 + 1

    for before, after in zip(x, layer_normalise(x), strict=True):
        values = before.flatten().tolist()
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        torch.testing.assert_close(after, (before - mean) / math.sqrt(variance + 1e-5))


def test_memory_order_is_a_view_of_maps_with_channels_first_and_last():
    x = torch.randn(2, 3, 4, 5)
    last = x.to(memory_format=torch.channels_last)

    assert in_memory_order(x).data_ptr() == x.data_ptr()
    assert in_memory_order(last).data_ptr() == last.data_ptr()
    assert torch.equal(in_memory_order(last), x.permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.97, 0.999])
def test_dropout_drops_with_its_probability_and_keeps_the_mean(p, layout):
    torch.manual_seed(0)
    x = torch.ones(8, 16, 5, 5).to(memory_format=layout)

    dropped = torch.stack([dropout(x, p) for _ in range(400)])

    assert dropped[0].is_contiguous(memory_format=layout)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], torch.tensor(1 / (1 - p)).expand(int(kept.sum())))
    # 1.28 million values, and 400 draws of how many bytes drop, which moves p by 1/256 at most.
    spread = math.sqrt(p * (1 - p) / dropped.numel() + (1 / 256) ** 2 / 4 / 400)
    assert abs(1 - kept.double().mean().item() - p) < 4 * spread
    # No value is favoured: each is dropped in 400 p of 400 draws, give or take.
    every = (~kept).sum(0).double()
    assert (every - 400 * p).abs().max() < 5 * math.sqrt(400 * p * (1 - p)) + 2


def test_dropout_passes_the_gradient_of_what_it_keeps():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 2, 2, requires_grad=True)

    y = dropout(x, 0.5)
    y.sum().backward()

    torch.testing.assert_close(x.grad, torch.where(y == 0, 0.0, 2.0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_class_goodness_is_the_mean_square_of_every_class_s_map(layout):
    h, weight = torch.randn(2, 3, 4, 5), torch.randn(6, 3, 1, 1)
    bias = torch.randn(6)

    found = class_goodness(h.to(memory_format=layout), weight, bias)

    for n in range(2):
        for k in range(6):
            squares = [
                (sum(weight[k, c, 0, 0] * h[n, c, i, j] for c in range(3)) + bias[k]) ** 2
                for i in range(4)
                for j in range(5)
            ]
            torch.testing.assert_close(found[n, k], sum(squares) / 20)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_class_goodness_has_the_right_derivatives(layout):
    h = torch.randn(2, 3, 4, 5, dtype=torch.double).to(memory_format=layout).requires_grad_()
    weight = torch.randn(6, 3, 1, 1, dtype=torch.double, requires_grad=True)
    bias = torch.randn(6, dtype=torch.double, requires_grad=True)

    assert torch.autograd.gradcheck(class_goodness, (h, weight, bias))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("function", "shapes"),
    [(class_goodness, [(2, 3, 4, 4), (5, 3, 1, 1), (5,)]), (pooled_squares, [(2, 3, 4, 4)])],
    ids=["class_goodness", "pooled_squares"],
)
def test_forward_mode_agrees_with_differences(function, shapes, layout):
    def value(*given):
        return function(*given, 2) if function is pooled_squares else function(*given)

    points = [torch.randn(shape, dtype=torch.double) for shape in shapes]
    points[0] = points[0].to(memory_format=layout)
    for moved, point in enumerate(points):
        direction = torch.randn_like(point)

        def along(t, moved=moved, direction=direction):
            return value(*(p + t * direction if i == moved else p for i, p in enumerate(points)))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch imports for it warns of itself
            with forward_ad.dual_level():
                duals = list(points)
                duals[moved] = forward_ad.make_dual(point, direction)
                slope = forward_ad.unpack_dual(value(*duals)).tangent
        torch.testing.assert_close(slope, (along(1e-6) - along(-1e-6)) / 2e-6, atol=1e-6, rtol=1e-6)


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


@pytest.mark.parametrize("module", ["goodness.functional", "goodness.optim.lr_schedules"])
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(importlib.import_module(module))

    assert result.attempted > 0
    assert result.failed == 0
