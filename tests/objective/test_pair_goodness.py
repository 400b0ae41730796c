"""Forward-Forward's loss against its formula."""

from __future__ import annotations

import math

import pytest
import torch

Y = torch.tensor([0, 2, 1])


def goodness(row, mean):
    total = sum(z**2 for z in row.flatten())
    return total / row.numel() if mean else total


def logistic(h, offset, mean):
    """-log sigmoid(g - offset) for the first three rows, -log(1 - sigmoid) for the others."""
    losses = []
    for place, row in enumerate(h):
        p = torch.sigmoid(goodness(row, mean) - offset)
        losses.append(-torch.log(p if place < 3 else 1 - p))
    return losses


@pytest.mark.parametrize(
    ("options", "offset", "mean"),
    [
        ({}, 8.0, False),
        ({"threshold": 0.5}, 4.0, False),
        ({"goodness": "mean"}, 2.0, True),
        ({"goodness": "mean", "threshold": 0.25}, 0.25, True),
    ],
)
def test_logistic_loss_of_goodness_minus_threshold(judge, features, options, offset, mean):
    objective = judge.make("pair-goodness", judge.spec((2, 2, 2)), **options)
    h = features(6, (2, 2, 2))

    judge.agree(objective, h, Y, lambda z: logistic(z, offset, mean))
    expected = torch.stack([goodness(row, mean) - offset for row in h])[:, None]
    torch.testing.assert_close(objective.scores(h), expected)


def test_peer_normalisation_with_a_running_mean(judge, features):
    objective = judge.make("pair-goodness", judge.spec((2, 2, 1)), peer=0.03, momentum=0.9)
    batches = [features(6, (2, 2, 1), seed).abs() for seed in (1, 2)]
    running = [0.5] * 4

    def reference(z):
        m = [0.9 * r + 0.1 * z[:3].flatten(1)[:, j].mean() for j, r in enumerate(running)]
        peer = sum((sum(m) / 4 - value) ** 2 for value in m) / 4
        return [loss + 0.03 * peer for loss in logistic(z, 4.0, False)]

    for h in batches:
        judge.agree(objective, h, Y, reference)
        objective.observe(h, Y)
        means = h[:3].flatten(1).mean(0).tolist()
        running = [0.9 * r + 0.1 * m for r, m in zip(running, means, strict=True)]
        torch.testing.assert_close(objective.activity.tolist(), running)


def test_symmetric_loss_of_aligned_pairs(judge, features):
    objective = judge.make(
        "pair-goodness", judge.spec((2, 2, 2)), goodness="mean", loss="symba", alpha=4.0
    )

    def reference(z):
        pairs = [(goodness(z[i], True), goodness(z[i + 3], True)) for i in range(3)]
        return [torch.log(1 + torch.exp(-4.0 * (right - wrong))) for right, wrong in pairs]

    judge.agree(objective, features(6, (2, 2, 2)), Y, reference)


def test_collaboration_adds_the_other_blocks_goodness(judge, features):
    objective = judge.make("pair-goodness", judge.spec((1, 2, 2), index=1), collaborate=True)
    h = features(6, (1, 2, 2))
    ahead = [
        torch.randn(6, 1).double(),
        torch.full((6, 1), 100.0).double(),
        torch.ones(6, 1).double(),
    ]

    def reference(z):
        # Its own entry is old news: the block's goodness comes from z.
        others = [ahead[0][i, 0] + ahead[2][i, 0] for i in range(6)]
        losses = []
        for i, row in enumerate(z):
            p = torch.sigmoid(goodness(row, False) - 4.0 + others[i])
            losses.append(-torch.log(p if i < 3 else 1 - p))
        return losses

    assert objective.needs_later_scores
    judge.agree(objective, h, Y, reference, judge.context(h, ahead=ahead))


def test_the_code_s_threshold_is_the_width(judge):
    objective = judge.make("pair-goodness", judge.spec((1000, 1, 1)))

    assert objective.threshold == 1000
    assert math.isclose(objective.scores(torch.ones(1, 1000, 1, 1)).item(), 0.0)
