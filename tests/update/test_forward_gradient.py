"""Forward-mode gradients: their mean is autograd's, and no reverse mode is used inside a block."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch

from goodness import build
from goodness.clock import Clock
from goodness.learning.parts import Batch
from goodness.learning.turn import Turn
from goodness.objective import Context
from goodness.update.forward_gradient import ForwardGradient
from goodness.update.gradient import Gradient
from goodness.update.sites import WEIGHT_LAYERS, Site, pull_back
from helpers import learner_of, same

DRAWS = 4096
GENERATOR = torch.Generator()
SHAPE = (1, 6, 6)


class Mixer(torch.nn.Module):
    """Patches as tokens, and a linear layer on each with a skip around it."""

    def __init__(self):
        super().__init__()
        self.patches = torch.nn.Conv2d(1, 3, 3, stride=3)
        self.norm = torch.nn.LayerNorm(3)
        self.tokens = torch.nn.Linear(3, 3)
        self.fc = torch.nn.Linear(3, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm(x)).tanh()
        return self.fc(x.mean(1))


CASES = {
    "tokens": {
        "module": Mixer(),
        "model": "module/Mixer",
        "objective": "classifier",
        "partition": {"name": "count", "blocks": 1},
    },
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
QUICK = ("batch norm",)


def make(**values):
    model = {"name": "small-cnn", "widths": [4, 4], "pools": [], "norm": "none"}
    objective = {"patches": 2, "groups": 2}
    given = {"model": model, "objective": objective, **values}
    return build("forward-gradient", image_shape=SHAPE, num_classes=3, **given)


def gradients(network, update, images, y, step=0):
    """Of the first block's parameters."""
    network.update = update
    network.train()
    x = network.training_rows(images, y)
    (segment, *_) = network.plan.at(Clock(0, 4, 1))
    batch = Batch(x, y, Context(x, images))
    Turn(learner_of(network), segment, batch, Clock(step, DRAWS, 1)).backward()
    found = {n: p.grad.clone() for n, p in network[0].named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize(
    "case",
    [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
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
    layers = [n for n, m in network[0].body.named_modules() if isinstance(m, WEIGHT_LAYERS)]
    assert {name.split(".")[1] for name in moved} >= set(layers)
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
    assert 0.6 < distances.square().mean().sqrt() < 1.3


def test_the_head_s_gradient_is_exact(batch):
    network = make()
    images, y = batch(4, SHAPE, 3)
    expected = gradients(network, Gradient(), images, y)
    found = gradients(network, ForwardGradient(), images, y)

    for name in ("objective.linear.weight", "objective.linear.bias"):
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_no_noise_enters_where_a_relu_is_closed(norm, batch):
    """Of whatever direction, the gradient there is 0."""
    network = make(model={"name": "small-cnn", "widths": [4, 4], "pools": [], "norm": norm})
    torch.nn.init.normal_(network[0].objective.linear.weight, generator=GENERATOR.manual_seed(0))
    images, y = batch(4, SHAPE, 3)
    seen, noise = [], []

    def spy(relu, inputs):
        primal, tangent = torch.autograd.forward_ad.unpack_dual(inputs[0])
        seen.append(primal.clone())
        noise.append(tangent.clone())

    network[0].body.relu1.register_forward_pre_hook(spy)
    gradients(network, ForwardGradient(), images, y)

    assert torch.equal(noise[0] != 0, seen[0] > 0)


class Standardized(torch.nn.Conv2d):
    """Divides its weight by its length."""

    def forward(self, x):
        return self._conv_forward(x, self.weight / self.weight.norm(), self.bias)


LAYERS = {
    "stride": torch.nn.Conv2d(2, 4, 3, padding=1, stride=2, groups=2),
    "same": torch.nn.Conv2d(1, 2, 3, padding="same", dilation=2),
    "circular": torch.nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"),
    "reflect": torch.nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"),
    "a class of its own": Standardized(1, 2, 3),
    "linear": torch.nn.Linear(6, 2),
}


@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_layer_s_gradient_is_that_of_its_own_forward(kind):
    """By differences, one weight after the other."""
    layer = copy.deepcopy(LAYERS[kind])
    given = torch.randn(3, getattr(layer, "in_channels", 1), 6, 6)
    with torch.no_grad():
        z = layer(given)
    behind = torch.randn(z.shape)

    pull_back(Site(layer, None, given, z), behind)

    for parameter in layer.parameters():
        expected = torch.zeros_like(parameter).flatten()
        for i in range(len(expected)):
            step = torch.zeros_like(expected)
            step[i] = 0.02
            for sign in (1, -1):
                with torch.no_grad():
                    parameter += sign * step.view_as(parameter)
                    expected[i] += sign * (behind * layer(given)).sum() / 0.04
                    parameter -= sign * step.view_as(parameter)
        torch.testing.assert_close(
            parameter.grad, expected.view_as(parameter), rtol=5e-3, atol=5e-3
        )


def test_what_is_frozen_has_no_gradient():
    layer, norm = torch.nn.Conv2d(1, 2, 3), torch.nn.GroupNorm(1, 2)
    layer.weight.requires_grad_(False)
    norm.requires_grad_(False)
    given = torch.randn(3, 1, 6, 6)
    z = layer(given).detach()

    pull_back(Site(layer, norm, given, z), torch.randn(z.shape))

    assert layer.weight.grad is norm.weight.grad is norm.bias.grad is None
    assert layer.bias.grad is not None


def test_nothing_is_recorded_inside_a_block(batch):
    network = make()
    recorded = []
    for block in network:
        block.body.register_forward_hook(lambda m, i, out: recorded.append(out.requires_grad))

    learner_of(network).step(*batch(4, SHAPE, 3))

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


def test_finding_out_what_follows_what_leaves_no_trace(batch):
    """Of a norm that does not follow its layer at once the first step knows already."""

    class Odd(Mixer):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3)

        def forward(self, x):
            x = self.patches(x).flatten(2)
            x = self.tokens(self.norm(x).tanh().transpose(1, 2))
            return self.fc(x.mean(1))

    torch.manual_seed(0)
    module = Odd()
    values = {"model": "module/Odd", "objective": "classifier"}
    networks = [
        make(module=copy.deepcopy(module), **values, partition={"name": "count", "blocks": 1})
        for _ in range(2)
    ]
    update = networks[1].update
    update._apart.add(networks[1][0].body.patches)
    for network in networks:
        learner_of(network).step(*batch(4, SHAPE, 3))

    assert same(networks[0].state_dict(), networks[1].state_dict())
    assert networks[0].update._apart


def test_a_step_leaves_nothing_but_weights(batch):
    """Whatever a user's hooks hold; and the network can be pickled."""
    network = make()
    held = SimpleNamespace(file=open(__file__))  # noqa: SIM115
    hook = network[0].body.register_forward_hook(lambda *_, held=held: None)
    learner_of(network).step(*batch(4, SHAPE, 3))
    held.file.close()
    hook.remove()

    assert network.update._perturbed == []
    assert same(pickle.loads(pickle.dumps(network)).state_dict(), network.state_dict())
