"""ASGE's scores and loss against the paper's formula."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import context

from goodness.errors import InputError
from goodness.objective import OBJECTIVES
from helpers import spec_of


def make(channels=6, side=4, num_classes=3, widest=6, **options):
    part = OBJECTIVES.resolve({"name": "spatial-goodness", **options})
    shape = (channels, side, side)
    return OBJECTIVES.make(part, spec_of(shape, num_classes=num_classes, widest=widest))


def slow_scores(objective, h, grid, scale):
    """The paper's a = scale * (g R + b), g the mean squares over a grid that divides the map."""
    count, channels, height, width = h.shape
    rows, columns = height // grid, width // grid
    scores = torch.zeros(count, objective.projection.shape[1], dtype=torch.double)
    for n in range(count):
        g = []
        for c in range(channels):
            for i in range(grid):
                for j in range(grid):
                    total = 0.0
                    for y in range(i * rows, (i + 1) * rows):
                        for x in range(j * columns, (j + 1) * columns):
                            total += h[n, c, y, x].item() ** 2
                    g.append(total / (rows * columns))
        for k in range(scores.shape[1]):
            a = sum(value * objective.projection[q, k].item() for q, value in enumerate(g))
            scores[n, k] = scale * (a + objective.bias[k].item())
    return scores


def slow_loss(scores, y):
    """-log softmax of the true class, per row."""
    losses = []
    for row, label in zip(scores.tolist(), y.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(a) for a in row)) - row[label])
    return torch.tensor(losses)


@pytest.mark.parametrize(
    ("channels", "widest", "options", "grid", "scale"),
    [
        (6, 6, {}, 1, 1.0),
        (3, 6, {}, 2, 1.0),  # the network's widest block is the reference
        (3, 6, {"reference": 12}, 4, 1.0),
        (3, 6, {"alpha": 2.0}, 4, 1.0),
        (5, 7, {"scale": 0.25}, 1, 0.25),
        (3, 6, {"unit_scale": True}, 2, math.sqrt(4 / (3 * 2 * 2))),
        (3, 6, {"unit_scale": True, "scale": 3.0}, 2, 3 * math.sqrt(4 / (3 * 2 * 2))),
    ],
)
def test_scores_and_loss_follow_the_paper(channels, widest, options, grid, scale):
    torch.manual_seed(0)
    objective = make(channels, num_classes=4, widest=widest, **options)
    h = torch.randn(3, channels, 4, 4)
    y = torch.tensor([0, 3, 1])

    scores = objective.scores(h)

    assert objective.facts() == {"grid": grid}
    expected = slow_scores(objective, h, grid, scale).float()
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(objective.loss(h, scores, y, context(h)), slow_loss(expected, y))


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("channels", [1, 7, 96])
def test_any_width_and_class_count(channels, classes):
    objective = make(channels, num_classes=classes, widest=100)
    h = torch.randn(2, channels, 4, 4, requires_grad=True)

    scores = objective.scores(h)
    loss = objective.loss(h, scores, torch.tensor([0, classes - 1]), context(h))
    loss.sum().backward()

    assert scores.shape == (2, classes)
    assert loss.shape == (2,)
    assert torch.isfinite(h.grad).all()
    assert h.grad.abs().sum() > 0


def test_projection_and_bias_are_fixed_and_saved():
    objective = make()

    assert list(objective.parameters()) == []
    assert set(objective.state_dict()) == {"projection", "bias"}


@pytest.mark.parametrize("classes", [2, 100])
def test_projection_is_drawn_with_deviation_one_over_root_k(classes):
    torch.manual_seed(0)
    projection = make(512, 16, classes, 2048).projection
    count = projection.numel()

    assert count == 512 * 4**2 * classes
    # Four standard errors of the mean and of the deviation.
    assert abs(projection.mean()) < 4 * classes**-0.5 / count**0.5
    assert abs(projection.std() * classes**0.5 - 1) < 4 / (2 * count) ** 0.5


def test_bias_is_drawn_with_deviation_one_over_root_k():
    torch.manual_seed(0)
    bias = torch.cat([make(num_classes=100).bias for _ in range(50)])

    assert abs(bias.std() * 10 - 1) < 4 / (2 * 5000) ** 0.5


def test_unit_scale_makes_the_spread_of_the_logits_independent_of_width_and_classes():
    torch.manual_seed(0)
    spreads = []
    for channels, classes in [(16, 10), (256, 10), (256, 100), (16, 100)]:
        objective = make(channels, num_classes=classes, widest=channels, unit_scale=True)
        # Constant maps of 1: g is 1 everywhere, so that the logits are sums of the rows of R.
        spreads.append(objective.scores(torch.ones(1, channels, 4, 4)).std().item())

    assert all(0.5 < spread < 1.7 for spread in spreads), spreads


@pytest.mark.parametrize("option", [{"alpha": 0}, {"alpha": "wide"}, {"scale": -1}, {"alfa": 1}])
def test_bad_options_are_refused(option):
    with pytest.raises(InputError, match=f"objective.{next(iter(option))}"):
        make(**option)
