"""Forward-mode gradients: their mean is autograd's, and no reverse mode is used inside a block."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from goodness import build
from goodness.clock import Clock
from goodness.engine.learner import Learner
from goodness.engine.segment import run_segment
from goodness.objective import Look
from goodness.update.forward_gradient import ForwardGradient
from goodness.update.gradient import Gradient

DRAWS = 4096
GENERATOR = torch.Generator()
SHAPE = (1, 6, 6)
CASES = {
    "patches and groups": {},
    "one loss per row": {"objective": "classifier"},
    "batch norm": {
        "objective": "classifier",
        "model": {"name": "small-cnn", "widths": [4, 4], "pools": [], "norm": "batch"},
    },
    "the method's own layer norm": {
        "model": {"name": "small-cnn", "widths": [4, 4], "pools": [], "norm": "layer"},
    },
    "patches that do not divide the map": {"objective": {"patches": 4, "groups": 2}},
    "rows that are compared": {"objective": {"name": "similarity", "beta": 0.5}},
    "two layers in a block": {
        "objective": "classifier",
        "partition": "block",
        "model": {"name": "small-cnn", "widths": [3, 4], "pools": [], "norm": "none"},
    },
}


def make(**values):
    model = {"name": "small-cnn", "widths": [4, 4], "pools": [], "norm": "none"}
    objective = {"patches": 2, "groups": 2}
    given = {"model": model, "objective": objective, **values}
    return build("forward-gradient", image=SHAPE, classes=3, **given)


def gradients(network, update, images, y, step=0):
    """Of the first block's parameters."""
    network.update = update
    network.train()
    x = network.present(images, y)
    (segment, *_) = network.schedule.plan(Clock(0, 4, 1))
    run = partial(run_segment, network, segment, x, y, Look(x, images), step)
    update(run, [network[index] for index in segment.blocks])
    found = {n: p.grad.clone() for n, p in network[0].named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("case", list(CASES))
def test_the_mean_of_many_draws_is_the_gradient(case, batch):
    network = make(**CASES[case])
    for block in network:
        # A head of zeros, as it starts, has no gradient to estimate.
        torch.nn.init.normal_(block.objective.linear.weight, generator=GENERATOR.manual_seed(0))
    images, y = batch(4, SHAPE, 3)
    expected = gradients(network, Gradient(), images, y)
    total, squares = {}, {}
    for step in range(DRAWS):
        for name, value in gradients(network, ForwardGradient(), images, y, step).items():
            total[name] = total.get(name, 0) + value
            squares[name] = squares.get(name, 0) + value.square()

    moved = [name for name in total if name.startswith("body.")]
    assert len(moved) >= len([n for n, _ in network[0].named_parameters() if "body.conv" in n])
    distances = []
    for name in moved:
        mean = total[name] / DRAWS
        error = ((squares[name] / DRAWS - mean.square()) / DRAWS).sqrt()
        assert (error > 0).all()
        distances.append(((mean - expected[name]) / error).flatten())
        if "weight" in name:
            assert expected[name].norm() > 1.5 * error.norm(), name
    distances = torch.cat(distances)
    # In standard errors; of so many numbers one in some ten thousand lies beyond 4.
    assert distances.abs().max() < 4
    assert 0.7 < distances.square().mean().sqrt() < 1.3


def test_the_head_s_gradient_is_exact(batch):
    network = make()
    images, y = batch(4, SHAPE, 3)
    expected = gradients(network, Gradient(), images, y)
    found = gradients(network, ForwardGradient(), images, y)

    for name in ("objective.linear.weight", "objective.linear.bias"):
        torch.testing.assert_close(found[name], expected[name])


def test_nothing_is_recorded_inside_a_block(batch):
    network = make()
    recorded = []
    for block in network:
        block.body.register_forward_hook(lambda m, i, out: recorded.append(out.requires_grad))

    Learner(network).step(*batch(4, SHAPE, 3), Clock(0, 4, 1))

    assert recorded == [False, False]


def test_more_losses_are_less_noisy(batch):
    """Every activity is charged with fewer losses that it has no part in."""
    images, y = batch(4, SHAPE, 3)
    spread = []
    for objective in ({"patches": 1, "groups": 1}, {"patches": 2, "groups": 2}):
        network = make(objective=objective)
        weight = network[0].objective.linear.weight
        torch.nn.init.normal_(weight, generator=GENERATOR.manual_seed(0))
        exact = gradients(network, Gradient(), images, y)["body.conv1.weight"]
        draws = [
            gradients(network, ForwardGradient(), images, y, step)["body.conv1.weight"]
            for step in range(200)
        ]
        noise = torch.stack([(draw - exact).square().sum() for draw in draws]).mean().sqrt()
        spread.append(noise / exact.norm())

    assert spread[1] < spread[0]
