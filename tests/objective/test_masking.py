"""What objectives declare of their gradient."""

from __future__ import annotations

import torch
from formulas import context, draw, make

from goodness.objective import OBJECTIVES


def test_the_gradient_of_objectives_that_mask_vanishes_where_the_feature_does():
    masking = [name for name in OBJECTIVES if make(name).masks]
    assert sorted(masking) == ["class-maps", "spatial-goodness"]
    for name in masking:
        objective = make(name)
        objective.rectified = True
        h = draw().relu().requires_grad_()

        y = torch.tensor([0, 1, 2, 0])
        objective.loss(h, objective.scores(h), y, context(h.detach())).sum().backward()

        assert h.grad.abs().sum() > 0
        assert (h.grad[h == 0] == 0).all()
