"""The losses per patch and channel group of the forward gradient against their formula."""

from __future__ import annotations

import pytest
import torch

Y = torch.tensor([0, 2, 1, 2])


def slow(objective, h):
    """(N, G, P, P): every group's cross-entropy, the other groups' share held fixed."""
    weight, bias, groups = objective.linear.weight, objective.linear.bias, objective.groups
    size = h.shape[1] // groups
    losses = []
    for row, label in zip(h, Y.tolist(), strict=True):
        for g in range(groups):
            for i in range(2):
                for j in range(2):
                    f = row[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2))
                    logits = bias
                    for other in range(groups):
                        members = slice(other * size, (other + 1) * size)
                        share = weight[:, members] @ f[members]
                        logits = logits + (share if other == g else share.detach())
                    losses.append(torch.log(torch.exp(logits).sum()) - logits[label])
    return torch.stack(losses).reshape(len(h), groups, 2, 2)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_every_group_moves_only_itself(judge, features, groups):
    objective = judge.make("patch-groups", judge.spec(), patches=2, groups=groups)
    torch.nn.init.normal_(objective.linear.weight)
    torch.nn.init.normal_(objective.linear.bias)

    judge.agree(objective, features(), Y, lambda z: slow(objective, z))


def test_groups_that_do_not_divide_become_fewer(judge):
    assert judge.make("patch-groups", judge.spec((6, 4, 4)), groups=5).groups == 3
