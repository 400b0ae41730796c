"""The coarsening convolutional head against its formula, written out."""

from __future__ import annotations

import pytest
import torch
from formulas import Y, agree, block, cross_entropy, draw, make
from torch.nn import functional as F


@pytest.mark.parametrize(("grid", "widths"), [(8, [5]), (4, [5, 6]), (2, [])])
def test_cross_entropy_of_coarsened_convolutions(grid, widths):
    objective = make("convolutional", block(), grid=grid, widths=widths, cells=2).eval()
    shapes = dict(objective.named_parameters())

    def reference(z):
        z = F.adaptive_avg_pool2d(z, min(grid, z.shape[-1]))
        parameters = iter(shapes.values())
        for _ in widths:
            kernel, scale, shift = (next(parameters) for _ in range(3))
            stride = 2 if z.shape[-1] > 2 else 1
            z = F.conv2d(z, kernel, stride=stride, padding=1)
            z = F.gelu(z / (1 + 1e-5) ** 0.5 * scale[:, None, None] + shift[:, None, None])
        z = F.adaptive_avg_pool2d(z, min(2, z.shape[-1])).flatten(1)
        weight, bias = parameters
        logits = z @ weight.T + bias
        return [cross_entropy(*row) for row in zip(logits, Y.tolist(), strict=True)]

    agree(objective, draw(), Y, reference)


@pytest.mark.parametrize("shape", [(8, 32, 32), (5, 7, 9), (4, 1, 1), (3, 2, 5)])
def test_heads_take_every_shape(shape):
    objective = make("convolutional", block(features=shape), widths=[6, 7])

    assert objective.scores(torch.randn(3, *shape).double()).shape[0] == 3
    assert all(p.shape[1] == 6 or p.shape[0] == 6 for p in objective.parameters() if p.dim() == 4)


def test_its_cost_does_not_grow_with_the_image():
    counts = []
    for side in (32, 64):
        objective = make("convolutional", block(features=(8, side, side)), grid=8)
        counts.append([tuple(p.shape) for p in objective.parameters()])
        seen = []
        objective.head[1].register_forward_hook(lambda _, x, y, seen=seen: seen.append(y.shape))
        objective.scores(torch.randn(2, 8, side, side).double())
        assert seen[0][2:] == (4, 4)

    assert counts[0] == counts[1]
