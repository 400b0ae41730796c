"""Forward-Forward's loss against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import agree, block, context, draw, make

Y = torch.tensor([0, 2, 1])


def goodness(row, mean):
    total = sum(z**2 for z in row.flatten())
    return total / row.numel() if mean else total


def logistic(h, offset, mean=False, others=(0.0,) * 6):
    """-log sigmoid(g - offset) for the first three rows, -log(1 - sigmoid) for the others."""
    losses = []
    for place, row in enumerate(h):
        p = torch.sigmoid(goodness(row, mean) - offset + others[place])
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
def test_logistic_loss_of_goodness_minus_threshold(options, offset, mean):
    objective = make("pair-goodness", block((2, 2, 2)), **options)
    h = draw(6, (2, 2, 2))

    agree(objective, h, Y, lambda z: logistic(z, offset, mean))
    expected = torch.stack([goodness(row, mean) - offset for row in h])[:, None]
    torch.testing.assert_close(objective.scores(h), expected)


def test_peer_normalisation_with_a_running_mean():
    objective = make("pair-goodness", block((2, 2, 1)), peer=0.03, momentum=0.9)
    running = [0.5] * 4

    def reference(z):
        m = [0.9 * r + 0.1 * z[:3].flatten(1)[:, j].mean() for j, r in enumerate(running)]
        peer = sum((sum(m) / 4 - value) ** 2 for value in m) / 4
        return [loss + 0.03 * peer for loss in logistic(z, 4.0)]

    for h in [draw(6, (2, 2, 1), seed).abs() for seed in (1, 2)]:
        agree(objective, h, Y, reference)
        objective.observe(h, Y)
        means = h[:3].flatten(1).mean(0).tolist()
        running = [0.9 * r + 0.1 * m for r, m in zip(running, means, strict=True)]
        torch.testing.assert_close(objective.activity.tolist(), running)


def test_symmetric_loss_of_aligned_pairs():
    spec = block((2, 2, 2))
    objective = make("pair-goodness", spec, goodness="mean", loss="symba", alpha=4.0)

    def reference(z):
        pairs = [(goodness(z[i], True), goodness(z[i + 3], True)) for i in range(3)]
        return [torch.log(1 + torch.exp(-4.0 * (right - wrong))) for right, wrong in pairs]

    agree(objective, draw(6, (2, 2, 2)), Y, reference)


def test_collaboration_adds_the_other_blocks_goodness():
    objective = make("pair-goodness", block((1, 2, 2), index=1), collaborate=True)
    h = draw(6, (1, 2, 2))
    # Its own entry is of before: the block's goodness comes from z.
    first, own, last = torch.randn(6, 1), torch.full((6, 1), 100.0), torch.ones(6, 1)
    scores = [value.double() for value in (first, own, last)]
    others = (scores[0] + scores[2])[:, 0]

    assert objective.needs_later_scores
    given = context(h, later_scores=scores)
    agree(objective, h, Y, lambda z: logistic(z, 4.0, others=others), given)


def test_the_code_s_threshold_is_the_width():
    objective = make("pair-goodness", block((1000, 1, 1)))

    assert objective.threshold == 1000
    assert math.isclose(objective.scores(torch.ones(1, 1000, 1, 1)).item(), 0.0)
