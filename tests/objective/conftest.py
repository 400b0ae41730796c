"""A block to judge, and the comparison of an objective with its paper's formula written in
loops."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from goodness.objective import OBJECTIVES, Context, BlockSpec


def spec(judged=(6, 4, 4), num_classes=3, index=0, count=3, image_shape=(2, 8, 8), input=None):
    input = judged if input is None else input
    return BlockSpec(index, count, classes, image, input, judged, judged, judged[0])


def make(name, where, **options):
    torch.manual_seed(0)
    return OBJECTIVES.make(OBJECTIVES.resolve({"name": name, **options}), where).double()


def context(h, image=None, ahead=()):
    return Context(torch.zeros_like(h), h if image is None else image, list(ahead))


def agree(objective, h, y, reference, seen=None):
    """Losses, and the gradients of their mean by features and head, equal those of ``reference``.

    Args:
        reference: from features (rows, C, H, W) with graph to a list of losses, one per row.
    """
    seen = context(h) if seen is None else seen
    mine, theirs = (h.clone().requires_grad_() for _ in range(2))
    parameters = [p for p in objective.parameters() if p.requires_grad]
    loss = objective.loss(mine, objective.scores(mine), y, seen)
    expected = torch.stack([torch.as_tensor(row) for row in reference(theirs)])
    torch.testing.assert_close(loss, expected)
    gradients = [
        torch.autograd.grad(value.mean(), [x, *parameters], allow_unused=True)
        for value, x in ((loss, mine), (expected, theirs))
    ]
    for one, other, value in zip(*gradients, [h, *parameters], strict=True):
        # What has no part in a loss has no gradient, or one of zeros.
        one, other = (torch.zeros_like(value) if g is None else g for g in (one, other))
        torch.testing.assert_close(one, other)
    assert gradients[0][0].abs().sum() > 0


@pytest.fixture
def judge():
    return SimpleNamespace(spec=spec, make=make, context=context, agree=agree)


@pytest.fixture
def features():
    def draw(rows=4, shape=(6, 4, 4), seed=1):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn((rows, *shape), generator=generator, dtype=torch.double)

    return draw
