"""Linear heads against their formulas."""

from __future__ import annotations

import itertools

import pytest
import torch
from formulas import Y, agree, cross_entropy, draw, each, linear, make


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 6),
        ({"pool": 2}, 24),
        ({"pool": None, "bias": False}, 96),  # Mono-Forward's projection
        ({"pool": None, "most": 30}, 24),
    ],
)
def test_cross_entropy_of_a_linear_map(options, count):
    objective = make("classifier", **options)

    assert objective.linear.in_features == count
    agree(objective, draw(), Y, each(lambda row, y: cross_entropy(linear(objective, row), y)))


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
                    best = (distance, support)
    return best[1]


def test_sparsemax_loss():
    objective = make("classifier", loss="sparsemax")
    torch.nn.init.normal_(objective.linear.weight)

    def loss(row, label):
        a = linear(objective, row)
        support = sparsemax(a)
        tau = (sum(a[k] for k in support) - 1) / len(support)
        return -a[label] + 0.5 * sum(a[k] ** 2 - tau**2 for k in support) + 0.5

    agree(objective, draw(), Y, each(loss))


@pytest.mark.parametrize("init", ["zero", "ones"])
def test_first_weights(init):
    weight = make("classifier", init=init, bias=False).linear.weight

    assert set(weight.flatten().tolist()) == {float(init == "ones")}
