"""Estimates from two forward passes: on average autograd's gradient, of any function of tensors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import goodness
from goodness.update.gradient import Gradient
from goodness.update.node_perturbation import NodePerturbation
from goodness.update.weight_perturbation import WeightPerturbation
from helpers import random_batch

SHAPE = (1, 6, 6)
BOTH = pytest.mark.parametrize("kind", [WeightPerturbation, NodePerturbation])


def make(**values):
    model = {"name": "small-cnn", "widths": [3, 4], "pools": [], "norm": "layer"}
    given = {"model": {**model, "activation": "gelu"}, "objective": "classifier", **values}
    return goodness.build("mono-forward", image_shape=SHAPE, num_classes=3, **given)


def gradients(network, update, count=6):
    """Of the first block's parameters."""
    network.update = update
    learner = goodness.Learner(network, run=goodness.clock.Clock(0, 4, 1))
    turn = next(learner.turns(*random_batch(count, SHAPE, 3)))
    turn.backward()
    block = network[0]
    found = {n: p.grad.clone() for n, p in block.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return found


def flat(found, part):
    return torch.cat([value.flatten() for name, value in found.items() if name.startswith(part)])


@BOTH
def test_the_more_samples_the_nearer_to_the_gradient(kind):
    network = make()
    with torch.no_grad():
        network[0].objective.linear.weight.normal_(generator=torch.Generator().manual_seed(0))
    expected = gradients(network, Gradient())
    cosines = []
    for samples in (1, 8, 64, 1024):
        found = gradients(network, kind(samples=samples, sigma=1e-2))
        assert found.keys() == expected.keys()
        torch.testing.assert_close(flat(found, "objective."), flat(expected, "objective."))
        pair = flat(found, "body."), flat(expected, "body.")
        cosines.append(torch.cosine_similarity(*pair, dim=0).item())
    assert cosines == sorted(cosines)
    assert cosines[-1] > 0.95
    ratio = pair[0].norm() / pair[1].norm()
    assert 0.9 < ratio < 1.1  # in length, too


@BOTH
def test_weights_and_statistics_stay_as_they_were(kind):
    network = make(model={"norm": "batch"})
    network.update = Gradient()
    learner = goodness.Learner(network, run=goodness.clock.Clock(0, 4, 1))
    once = {k: v.clone() for k, v in network.state_dict().items()}
    next(learner.turns(*random_batch(6, SHAPE, 3))).backward()
    expected = {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(once)
    network.update = kind(samples=3)
    next(learner.turns(*random_batch(6, SHAPE, 3))).backward()
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


@BOTH
def test_a_step_draws_the_same_numbers_again(kind):
    network = make()
    first, again = (gradients(network, kind()) for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, again[name])


class Quantised(nn.Module):
    """A convolution whose output has a few levels, and noise on it: its gradient is 0."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x):
        x = self.conv(x.detach())
        return ((x + 0.05 * torch.randn_like(x)).clamp(0, 2) * 8).round().detach() / 8


@pytest.mark.parametrize(
    "update",
    [
        {"name": "weight-perturbation", "samples": 24, "sigma": 0.1},
        {"name": "node-perturbation", "samples": 4, "sigma": 0.1},
    ],
)
def test_a_block_that_no_gradient_passes_learns(update):
    def learnt(update):
        torch.manual_seed(0)
        parts = [Quantised(1, 4), nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 3))]
        network = goodness.localize(
            parts,
            method="mono-forward",
            image_shape=SHAPE,
            num_classes=3,
            objective="classifier",
            update=update,
            optimizer={"name": "adam", "lr": 1e-2},
            lr_schedule="constant",
            epochs=1,
            steps_per_epoch=60,
        )
        learner = goodness.Learner(network)
        before = network[0].body.state_dict()
        before = {name: value.clone() for name, value in before.items()}
        # What tells the classes apart is a pattern, not the mean that a fixed body would keep.
        y = torch.arange(24) % 3
        x = 0.3 * torch.randn(24, *SHAPE, generator=torch.Generator().manual_seed(1))
        x[y == 0, :, ::2] += 1
        x[y == 1, :, :, ::2] += 1
        x[y == 2, :, ::2, ::2] += 2
        x -= x.mean((1, 2, 3), keepdim=True)
        losses = [learner.step(x, y).losses[0].item() for _ in range(60)]
        moved = any(not torch.equal(v, before[n]) for n, v in network[0].body.state_dict().items())
        return losses, moved

    stuck, moved = learnt("gradient")
    assert not moved
    losses, moved = learnt(update)
    assert moved
    assert losses[-1] < 0.8 * stuck[-1]


def test_pairs_of_rows_learn_without_derivatives():
    network = goodness.build(
        "ff-zero",
        image_shape=SHAPE,
        num_classes=3,
        model={"widths": [20, 20]},
        epochs=1,
        steps_per_epoch=60,
    )
    learner = goodness.Learner(network)
    x, y = random_batch(30, SHAPE, 3)
    losses = [[v.item() for v in learner.step(x, y).losses] for _ in range(60)]
    assert losses[-1][0] < losses[0][0]
    assert goodness.audit(network).locality == "layer"


def test_the_page_s_model_trains_without_derivatives(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "black_boxes.md").read_text()
    (tmp_path / "optical.py").write_text(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0])
    monkeypatch.chdir(tmp_path)
    given = {"imports": ["optical.py"], "model": "optical", "epochs": 5}
    given |= {"method": "mono-forward", "lr": 1e-2}
    with pytest.raises(goodness.InputError, match="no gradient passes Optical"):
        goodness.fit("digits", **given, out=tmp_path / "refused")
    run = goodness.fit("digits", **given, update="node-perturbation", out=tmp_path / "run")
    assert run.result.test.accuracy > 0.8
    assert run.result.test.per_block[1] > 0.6
