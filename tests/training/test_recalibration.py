"""Batch norms whose running statistics lag are measured anew, and training goes on as before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodness import localize
from goodness.clock import Clock
from goodness.modes import evaluating
from goodness.training import trainer as trainer_module
from goodness.training.recalibration import holding, recalibrated
from helpers import TINY, copied, same, saved_weights, tiny_network

CLOCK = Clock(4, 5, 3)
DEEP = {**TINY, "widths": [16] * 6, "norm": "batch", "init": "kaiming"}


def norms_of(module):
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d)]


def slow(network):
    """Its norms have the momentum of torchvision's MobileNetV3."""
    for norm in norms_of(network):
        norm.momentum = 0.01
    return network


@pytest.mark.parametrize(
    ("method", "values"), [("asge-fast", {}), ("backprop", {"ema": 0.5}), ("dgl", {})]
)
def test_validation_follows_training_where_the_momentum_is_small(
    digits, trainer_of, monkeypatch, method, values
):
    values = {"epochs": 3, "batch_size": 64, "model": DEEP, **values}

    def run(name):
        trainer = trainer_of(digits, name, method=method, **values)
        slow(trainer.network)
        slow(trainer.learner.final_network)
        return trainer, trainer.fit()

    trainer, result = run("run")
    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "recalibrated", lambda *_: {})
        without, lagging = run("lagging")

    assert lagging.test.accuracy < 0.25
    assert result.test.accuracy > 0.5
    assert [row.train for row in trainer.history] == [row.train for row in without.history]
    assert same(saved_weights(trainer.run.path), saved_weights(without.run.path))
    assert result.val.accuracy == trainer.best.accuracy  # `best` has the statistics that were asked


def test_statistics_are_means_over_training_images(digits):
    network = slow(tiny_network("backprop", num_classes=10, batch_size=600))
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(0))
    found = recalibrated(network, digits, CLOCK)

    assert set(found) == {
        f"blocks.{block}.body.norm{block + 1}.running_{what}"
        for block in (0, 1)
        for what in ("mean", "var")
    }
    # One batch of 600: no more fit into 1024 images. Any other sample is about the same.
    images = digits.preprocessing.apply(digits.train._images[order[:600]])
    maps = network[0].body[0](images).detach()
    expected = {"mean": maps.mean((0, 2, 3)), "var": maps.var((0, 2, 3))}
    for what, value in expected.items():
        torch.testing.assert_close(
            found[f"blocks.0.body.norm1.running_{what}"], value, rtol=0.2, atol=0.05
        )


@pytest.mark.parametrize("method", ["asge-fast", "dgl", "ff", "scff"])
def test_the_network_is_left_as_it_was(digits, method):
    values = {"model": {**TINY, "norm": "batch"}, "plan": "together"}
    network = slow(tiny_network(method, num_classes=10, **values))
    state, modes = copied(network.state_dict()), [part.training for part in network.modules()]
    generator = torch.random.get_rng_state()
    one, other = (recalibrated(network, digits, CLOCK) for _ in range(2))

    assert len(one) == 2 * len(norms_of(network))
    assert same(one, other)
    assert same(network.state_dict(), state)
    assert [part.training for part in network.modules()] == modes
    assert {norm.momentum for norm in norms_of(network)} == {0.01}
    assert torch.equal(torch.random.get_rng_state(), generator)
    with holding(network, one):
        assert all(torch.equal(network.state_dict()[name], value) for name, value in one.items())
    assert same(network.state_dict(), state)


def test_norms_that_do_not_lag_or_do_not_learn_are_left_alone(digits):
    def measured(steps_per_epoch=5, step=4, momentum=0.1, **values):
        network = tiny_network(
            "mono-forward", num_classes=10, model={**TINY, "norm": "batch"}, **values
        )
        for norm in norms_of(network):
            norm.momentum = momentum
        found = recalibrated(network, digits, Clock(step, steps_per_epoch, 4))
        return {int(name.split(".")[1]) for name in found}

    assert measured() == {0, 1}
    assert measured(steps_per_epoch=28) == {0, 1}  # 0.9^28 = 0.052
    assert measured(steps_per_epoch=29) == set()
    assert measured(momentum=None) == set()
    assert measured(freeze_until="1") == {1}
    assert [measured(plan="sequential", step=step) for step in (4, 19)] == [{0}, {1}]


def test_norms_of_the_classifier_are_measured_on_what_it_is_asked(digits):
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(8),
        nn.Linear(8, 10),
    )
    network = localize(model, "sff", image_shape=(1, 8, 8))
    found = recalibrated(network, digits, CLOCK)

    inside = {name: value for name, value in found.items() if name.startswith("blocks.")}
    assert len(inside) == 2
    (name,) = {name for name in found if name.endswith("mean")} - set(inside)
    with holding(network, inside), evaluating(network), torch.no_grad():
        images = digits.preprocessing.apply(digits.train._images[:500])
        expected = network.features(images)[-1].mean((0, 2, 3))
    torch.testing.assert_close(found[name], expected, rtol=0.2, atol=0.05)
