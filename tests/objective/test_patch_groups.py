"""The losses per patch and channel group of the forward gradient against their formula."""

from __future__ import annotations

import pytest
import torch
from formulas import Y, agree, block, context, cross_entropy, draw, each, make


def drawn(groups):
    """An objective with a random head, and the cross-entropy of the mean of 2 x 2 patches."""
    objective = make("patch-groups", patches=2, groups=groups)
    torch.nn.init.normal_(objective.linear.weight)
    torch.nn.init.normal_(objective.linear.bias)

    def loss(row, label):
        f = torch.zeros(row.shape[0], dtype=row.dtype)
        for i in range(2):
            for j in range(2):
                f = f + row[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2)) / 4
        return cross_entropy(objective.linear.weight @ f + objective.linear.bias, label)

    return objective, each(loss)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_together_they_are_one_cross_entropy(groups):
    """In value, and in the gradient by features and head."""
    objective, whole = drawn(groups)

    agree(objective, draw(), Y, lambda z: [loss.expand(groups, 2, 2) for loss in whole(z)])


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_every_loss_moves_only_its_own_patch_and_group(groups):
    """There, times the number of losses over which is averaged, as the one cross-entropy does."""
    objective, whole = drawn(groups)
    z = draw().requires_grad_()
    (gradient,) = torch.autograd.grad(sum(whole(z)), z)
    losses = objective.loss(z, objective.scores(z), Y, context(z))

    size = z.shape[1] // groups
    for g in range(groups):
        for i in range(2):
            for j in range(2):
                (found,) = torch.autograd.grad(losses[:, g, i, j].sum(), z, retain_graph=True)
                patch = slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2)
                own = slice(None), slice(g * size, (g + 1) * size), *patch
                expected = torch.zeros_like(z)
                expected[own] = gradient[own] * groups * 4
                torch.testing.assert_close(found, expected)


def test_groups_that_do_not_divide_become_fewer():
    assert make("patch-groups", block((6, 4, 4)), groups=5).groups == 3
