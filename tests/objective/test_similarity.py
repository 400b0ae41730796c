"""PredSim's loss against its formula."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from formulas import Y, agree, block, cross_entropy, draw, each, linear, make

from goodness.config import resolve


def similarities(rows):
    centred = [row - row.mean() for row in rows]
    unit = [row / (torch.sqrt((row**2).sum()) + 1e-8) for row in centred]
    return [[(a * b).sum() for b in unit] for a in unit]


def matching(rows):
    """Per row, the mean squared difference to the labels' similarities."""
    mine = similarities(rows)
    target = similarities(torch.nn.functional.one_hot(Y, 3).double())
    return [
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one)
        for one, other in zip(mine, target, strict=True)
    ]


@pytest.mark.parametrize("beta", [0.0, 0.99, 1.0])
def test_prediction_and_similarity_matching(beta):
    objective = make("similarity", beta=beta, most=24)
    assert torch.equal(objective.scores(draw()), torch.zeros(4, 3).double())
    torch.nn.init.normal_(objective.linear.weight)

    def reference(z):
        v = torch.nn.functional.conv2d(z, objective.conv.weight, padding=1)
        spread = [torch.stack([torch.sqrt(c.flatten().var() + 1e-12) for c in row]) for row in v]
        return [
            (1 - beta) * cross_entropy(linear(objective, row), label) + beta * share
            for row, label, share in zip(z, Y.tolist(), matching(spread), strict=True)
        ]

    assert objective.grid == (2, 2)
    agree(objective, draw(), Y, reference)


def test_fully_connected_features_are_compared_as_they_are():
    objective = make("similarity", block((5, 1, 1)), beta=1.0)

    def reference(z):
        return matching([objective.conv.weight[:, :, 0, 0] @ row.flatten() for row in z])

    agree(objective, draw(4, (5, 1, 1)), Y, reference)


@pytest.mark.parametrize(
    ("features", "most", "grid"),
    [((128, 28, 28), 1024, (2, 4)), ((128, 32, 32), 2048, (4, 4)), ((512, 2, 2), 4096, (2, 2))],
)
def test_features_of_the_prediction_are_limited(features, most, grid):
    objective = make("similarity", block(features), most=most)

    assert objective.grid == grid
    assert objective.linear.in_features <= most


def released(side, most, channels):
    """Kernels, paddings and cells of the released code's loop, for maps of side x side."""
    kernel_h = kernel_w = 1
    cells_h = cells_w = side
    while channels * cells_h * cells_w > most and kernel_h < side:
        kernel_h *= 2
        cells_h = math.ceil(side / kernel_h)
        if channels * cells_h * cells_w > most:
            kernel_w *= 2
            cells_w = math.ceil(side / kernel_w)
    paddings = [
        kernel * (cells - side // kernel) // 2
        for kernel, cells in ((kernel_h, cells_h), (kernel_w, cells_w))
    ]
    return (kernel_h, kernel_w), tuple(paddings), (cells_h, cells_w)


def averaged(row, kernels, paddings, cells):
    """Cell by cell: pixels outside of the map are zeros, and count."""
    channels, height, width = row.shape
    out = torch.zeros(channels, *cells, dtype=row.dtype)
    for i, j in itertools.product(range(cells[0]), range(cells[1])):
        top, left = i * kernels[0] - paddings[0], j * kernels[1] - paddings[1]
        inside = row[
            :,
            max(top, 0) : min(top + kernels[0], height),
            max(left, 0) : min(left + kernels[1], width),
        ]
        out[:, i, j] = inside.sum((1, 2)) / (kernels[0] * kernels[1])
    return out.flatten()


@pytest.mark.parametrize("side", [1, 3, 7, 8, 14, 28])
@pytest.mark.parametrize("most", [4, 16, 32, 256])
def test_padded_cells_are_those_of_the_released_code(side, most):
    objective = make("similarity", block((4, side, side)), most=most, padded=True)
    h = draw(2, (4, side, side))

    kernels, paddings, cells = released(side, most, 4)
    assert objective.grid == cells
    expected = torch.stack([averaged(row, kernels, paddings, cells) for row in h])
    torch.testing.assert_close(objective.pooled(h).flatten(1), expected)
    even = make("similarity", block((4, side, side)), most=most).pooled(h).flatten(1)
    divides = all(side % kernel == 0 for kernel in kernels)
    assert torch.allclose(even, expected) == divides


def test_padded_cells_are_what_the_prediction_learns_from():
    objective = make("similarity", block((2, 7, 7)), beta=0.0, most=8, padded=True)
    torch.nn.init.normal_(objective.linear.weight)
    kernels, paddings, cells = released(7, 8, 2)

    def loss(row, label):
        scores = objective.linear.weight @ averaged(row, kernels, paddings, cells)
        return cross_entropy(scores + objective.linear.bias, label)

    agree(objective, draw(4, (2, 7, 7)), Y, each(loss))


def test_the_paper_s_prediction_has_padded_cells():
    assert resolve({"method": "predsim"}).objective["padded"]
    assert resolve({"method": "predsim", "data": "mnist"}).objective["padded"]
