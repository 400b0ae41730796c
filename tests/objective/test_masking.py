"""What objectives log of their gradient."""

from __future__ import annotations

import pytest
import torch

from goodness.objective import OBJECTIVES, Context, BlockSpec

SHAPE = (6, 4, 4)
WHERE = BlockSpec(0, 1, 3, (3, 8, 8), SHAPE, SHAPE, SHAPE, 6)
FOUND = {name: OBJECTIVES.make(OBJECTIVES.resolve({"name": name}), WHERE) for name in OBJECTIVES}
MASKING = [name for name, objective in FOUND.items() if objective.masks]


def test_two_objectives_mask():
    assert sorted(MASKING) == ["class-maps", "spatial-goodness"]


@pytest.mark.parametrize("name", MASKING)
def test_the_gradient_vanishes_where_the_feature_does(name):
    objective = OBJECTIVES.make(OBJECTIVES.resolve({"name": name}), WHERE)
    objective.rectified = True
    h = torch.randn(4, *SHAPE).relu().requires_grad_()
    seen = Context(h.detach(), h.detach())

    objective.loss(h, objective.scores(h), torch.tensor([0, 1, 2, 0]), seen).sum().backward()

    assert h.grad.abs().sum() > 0
    assert (h.grad[h == 0] == 0).all()
