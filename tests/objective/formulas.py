"""Objectives against their papers' formulas, which the tests write in loops over rows."""

from __future__ import annotations

import torch

from goodness.objective import OBJECTIVES, Context
from helpers import spec_of

Y = torch.tensor([0, 2, 1, 2])


def block(features=(6, 4, 4), **values):
    """The first of three blocks, of an image of 2x8x8 and three classes, but for ``values``."""
    return spec_of(features, **{"count": 3, "image_shape": (2, 8, 8), **values})


def make(name, spec=None, **options):
    """An objective in float64."""
    torch.manual_seed(0)
    part = OBJECTIVES.resolve({"name": name, **options})
    return OBJECTIVES.make(part, spec or block()).double()


def draw(rows=4, shape=(6, 4, 4), seed=1):
    """Random features."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((rows, *shape), generator=generator, dtype=torch.double)


def context(h, images=None, later_scores=()):
    return Context(torch.zeros_like(h), h if images is None else images, list(later_scores))


def each(loss, y=Y):
    """A reference: ``loss(row, label)`` of every row."""
    return lambda z: [loss(row, label) for row, label in zip(z, y.tolist(), strict=True)]


def agree(objective, h, y, reference, given=None):
    """Losses, and the gradients of their mean by features and head, equal those of ``reference``.

    Args:
        reference: from features (rows, C, H, W) with graph to a list of losses, one per row.
        given: the context.
    """
    given = context(h) if given is None else given
    mine, theirs = (h.clone().requires_grad_() for _ in range(2))
    parameters = [p for p in objective.parameters() if p.requires_grad]
    loss = objective.loss(mine, objective.scores(mine), y, given)
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


def cross_entropy(scores, label):
    """-log softmax of the true class."""
    return torch.log(sum(torch.exp(score) for score in scores)) - scores[label]


def linear(objective, row):
    """The objective's linear map of the features, averaged over its grid."""
    pooled = torch.nn.functional.adaptive_avg_pool2d(row, objective.grid).flatten()
    scores = objective.linear.weight @ pooled
    return scores if objective.linear.bias is None else scores + objective.linear.bias
