"""Linear heads against their formulas."""

from __future__ import annotations

import itertools

import pytest
import torch

Y = torch.tensor([0, 2, 1, 2])


def logits(objective, row):
    cells = objective.grid
    pooled = torch.nn.functional.adaptive_avg_pool2d(row, cells).flatten()
    z = objective.linear.weight @ pooled
    return z if objective.linear.bias is None else z + objective.linear.bias


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 6),
        ({"pool": 2}, 24),
        ({"pool": None, "bias": False}, 96),  # Mono-Forward's projection
        ({"pool": None, "most": 30}, 24),
    ],
)
def test_cross_entropy_of_a_linear_map(judge, features, options, count):
    objective = judge.make("classifier", judge.spec(), **options)

    def reference(z):
        rows = [logits(objective, row) for row in z]
        return [torch.log(torch.exp(a).sum()) - a[y] for a, y in zip(rows, Y.tolist(), strict=True)]

    assert objective.linear.in_features == count
    judge.agree(objective, features(), Y, reference)


def sparsemax(z):
    """The nearest point of the simplex, by trying every support."""
    best = None
    for size in range(1, len(z) + 1):
        for support in itertools.combinations(range(len(z)), size):
            tau = (sum(z[k].item() for k in support) - 1) / size
            p = [max(z[k].item() - tau, 0.0) if k in support else 0.0 for k in range(len(z))]
            if abs(sum(p) - 1) < 1e-9:
                distance = sum((a - b.item()) ** 2 for a, b in zip(p, z, strict=True))
                if best is None or distance < best[0]:
                    best = (distance, support, tau)
    return best[1], best[2]


def test_sparsemax_loss(judge, features):
    objective = judge.make("classifier", judge.spec(), loss="sparsemax")
    torch.nn.init.normal_(objective.linear.weight)

    def reference(z):
        losses = []
        for row, label in zip(z, Y.tolist(), strict=True):
            a = logits(objective, row)
            support, _ = sparsemax(a)
            tau = (sum(a[k] for k in support) - 1) / len(support)
            squares = sum(a[k] ** 2 - tau**2 for k in support)
            losses.append(-a[label] + 0.5 * squares + 0.5)
        return losses

    judge.agree(objective, features(), Y, reference)


@pytest.mark.parametrize("init", ["zero", "ones"])
def test_first_weights(judge, init):
    objective = judge.make("classifier", judge.spec(), init=init, bias=False)

    assert set(objective.linear.weight.flatten().tolist()) == {float(init == "ones")}
