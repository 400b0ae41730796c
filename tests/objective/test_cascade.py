"""CaFo's closed form and direct feedback against their formulas."""

from __future__ import annotations

import pytest
import torch
from formulas import Y, agree, block, context, cross_entropy, draw, each, linear, make


@pytest.mark.parametrize("rows", [20, 200])
def test_streamed_least_squares(rows):
    """With fewer images than features only the ridge makes the answer unique."""
    objective = make("least-squares", block((4, 3, 3)), ridge=1e-3)
    h = draw(rows, (4, 3, 3))
    y = torch.arange(rows) % 3
    for part in range(0, rows, 7):
        objective.observe(h[part : part + 7], y[part : part + 7])
    assert torch.equal(objective.weight, torch.zeros_like(objective.weight))

    objective.end_epoch()

    f, target = h.flatten(1), torch.nn.functional.one_hot(y, 3).double()
    ridge = 1e-3 * (f**2).sum() / 36
    # The same as plain least squares with the ridge's root as further rows.
    rows_of_ridge = torch.cat([f, ridge.sqrt() * torch.eye(36).double()])
    expected = torch.linalg.lstsq(rows_of_ridge, torch.cat([target, torch.zeros(36, 3).double()]))
    torch.testing.assert_close(objective.weight, expected.solution)
    torch.testing.assert_close(objective.scores(h), f @ expected.solution)
    assert objective.pending == {}


def test_squared_error_of_the_one_hot_label():
    objective = make("least-squares")
    objective.weight.normal_()

    def squared_error(row, label):
        s = row.flatten() @ objective.weight
        return sum((s[k] - float(k == label)) ** 2 for k in range(3)) / 3

    agree(objective, draw(), Y, each(squared_error))


def test_singular_features_are_solved_too():
    objective = make("least-squares", block((2, 1, 1)), ridge=0.0)
    h = torch.ones(6, 2, 1, 1).double()  # two equal columns
    y = torch.tensor([0, 0, 0, 1, 1, 2])

    objective.observe(h, y)
    objective.end_epoch()

    # The shares of the classes, by the solution of least norm.
    torch.testing.assert_close(objective.scores(h)[0].tolist(), [3 / 6, 2 / 6, 1 / 6])
    torch.testing.assert_close(objective.weight[0], objective.weight[1])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_direct_feedback_moves_features_against_the_last_block_s_error(smoothing):
    objective = make("direct-feedback", pool=2)
    objective.label_smoothing = smoothing
    torch.nn.init.normal_(objective.linear.weight)
    h, last = draw(), torch.randn(4, 3).double()
    z = h.clone().requires_grad_()

    given = context(h, later_scores=[None, None, last])
    loss = objective.loss(z, objective.scores(z), Y, given)
    by_features, by_weight = torch.autograd.grad(loss.sum(), [z, objective.linear.weight])

    target = torch.full((4, 3), smoothing / 3).double()
    for row, label in enumerate(Y.tolist()):
        target[row, label] += 1 - smoothing
    error = last.softmax(1) - target
    torch.testing.assert_close(by_features, (error @ objective.back).reshape(h.shape))
    own = objective.scores(h).softmax(1) - target
    pooled = torch.nn.functional.adaptive_avg_pool2d(h, 2).flatten(1)
    torch.testing.assert_close(by_weight, own.T @ pooled)


def test_the_last_block_learns_from_its_own_error():
    objective = make("direct-feedback", block(index=2))
    torch.nn.init.normal_(objective.linear.weight)

    assert not objective.needs_later_scores
    agree(objective, draw(), Y, each(lambda row, y: cross_entropy(linear(objective, row), y)))
