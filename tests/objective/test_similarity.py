"""PredSim's loss against its formula."""

from __future__ import annotations

import pytest
import torch
from formulas import Y, agree, block, cross_entropy, draw, linear, make


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
