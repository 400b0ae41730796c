"""The losses per patch and channel group of the forward gradient against their formula."""

from __future__ import annotations

import pytest
import torch

Y = torch.tensor([0, 2, 1, 2])


def slow(objective, h):
    """(N,): the cross-entropy of the mean of 2 x 2 patches."""
    weight, bias = objective.linear.weight, objective.linear.bias
    losses = []
    for row, label in zip(h, Y.tolist(), strict=True):
        f = torch.zeros(row.shape[0], dtype=row.dtype)
        for i in range(2):
            for j in range(2):
                f = f + row[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2)) / 4
        logits = weight @ f + bias
        losses.append(torch.log(torch.exp(logits).sum()) - logits[label])
    return torch.stack(losses)


def drawn(judge, groups):
    objective = judge.make("patch-groups", judge.spec(), patches=2, groups=groups)
    torch.nn.init.normal_(objective.linear.weight)
    torch.nn.init.normal_(objective.linear.bias)
    return objective


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_together_they_are_one_cross_entropy(judge, features, groups):
    """In value, and in the gradient by features and head."""
    objective = drawn(judge, groups)

    def tiled(h):
        return slow(objective, h).reshape(-1, 1, 1, 1).expand(-1, groups, 2, 2)

    judge.agree(objective, features(), Y, tiled)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_every_loss_moves_only_its_own_patch_and_group(judge, features, groups):
    """There, times the number of losses over which is averaged, as the one cross-entropy does."""
    objective = drawn(judge, groups)
    z = features().requires_grad_()
    (whole,) = torch.autograd.grad(slow(objective, z).sum(), z)
    losses = objective.loss(z, objective.scores(z), Y, judge.context(z))

    size = z.shape[1] // groups
    for g in range(groups):
        for i in range(2):
            for j in range(2):
                (found,) = torch.autograd.grad(losses[:, g, i, j].sum(), z, retain_graph=True)
                own = (
                    slice(None),
                    slice(g * size, (g + 1) * size),
                    slice(2 * i, 2 * i + 2),
                    slice(2 * j, 2 * j + 2),
                )
                expected = torch.zeros_like(z)
                expected[own] = whole[own] * groups * 4
                torch.testing.assert_close(found, expected)


def test_groups_that_do_not_divide_become_fewer(judge):
    assert judge.make("patch-groups", judge.spec((6, 4, 4)), groups=5).groups == 3
