"""What objectives say of their gradient."""

from __future__ import annotations

import pytest
import torch

from goodness.objective import OBJECTIVES, Look, Spec

VANISHING = [name for name in OBJECTIVES if OBJECTIVES[name].vanishes]


@pytest.mark.parametrize("name", VANISHING)
def test_the_gradient_vanishes_where_the_feature_does(name):
    shape = (6, 4, 4)
    where = Spec(0, 1, 3, (3, 8, 8), shape, shape, shape, 6)
    objective = OBJECTIVES.make(OBJECTIVES.resolve({"name": name}), where)
    h = torch.randn(4, *shape).relu().requires_grad_()
    seen = Look(h.detach(), h.detach())

    objective.loss(h, objective.scores(h), torch.tensor([0, 1, 2, 0]), seen).sum().backward()

    assert h.grad.abs().sum() > 0
    assert (h.grad[h == 0] == 0).all()
