"""PredSim's loss against its formula."""

from __future__ import annotations

import pytest
import torch

Y = torch.tensor([0, 2, 1, 2])


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
def test_prediction_and_similarity_matching(judge, features, beta):
    objective = judge.make("similarity", judge.spec(), beta=beta, most=24)
    torch.nn.init.normal_(objective.linear.weight)

    def reference(z):
        v = torch.nn.functional.conv2d(z, objective.conv.weight, padding=1)
        spread = [torch.stack([torch.sqrt(c.flatten().var() + 1e-12) for c in row]) for row in v]
        losses = []
        for row, label, share in zip(z, Y.tolist(), matching(spread), strict=True):
            pooled = row.unflatten(2, (2, 2)).unflatten(1, (2, 2)).mean((2, 4)).flatten()
            logits = objective.linear.weight @ pooled + objective.linear.bias
            ce = torch.log(torch.exp(logits).sum()) - logits[label]
            losses.append((1 - beta) * ce + beta * share)
        return losses

    judge.agree(objective, features(), Y, reference)


def test_fully_connected_features_are_compared_as_they_are(judge, features):
    objective = judge.make("similarity", judge.spec((5, 1, 1)), beta=1.0)

    def reference(z):
        rows = [objective.conv.weight[:, :, 0, 0] @ row.flatten() for row in z]
        return matching(rows)

    judge.agree(objective, features(4, (5, 1, 1)), Y, reference)


def test_prediction_starts_from_zero(judge, features):
    objective = judge.make("similarity", judge.spec())

    assert torch.equal(objective.scores(features()), torch.zeros(4, 3).double())


@pytest.mark.parametrize(
    ("judged", "most", "grid"),
    [((128, 28, 28), 1024, (2, 4)), ((128, 32, 32), 2048, (4, 4)), ((512, 2, 2), 4096, (2, 2))],
)
def test_features_of_the_prediction_are_limited(judge, judged, most, grid):
    objective = judge.make("similarity", judge.spec(judged), most=most)

    assert objective.grid == grid
    assert objective.linear.in_features <= most
