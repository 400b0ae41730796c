"""A ReLU's mask is left out only where it changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodness import build
from goodness.network.rectifier import OpenReLU, with_open_end
from goodness.update import UPDATES
from helpers import learner_of, same


def opened(network):
    return [any(isinstance(part, OpenReLU) for part in block.modules()) for block in network]


@pytest.mark.parametrize("method", ["asge", "sff"])
def test_training_is_alike_with_and_without_the_mask(method):
    x, y = torch.randn(16, 3, 8, 8), torch.randint(3, (16,))
    model = {"name": "cnn", "widths": [6, 8], "pools": [1]}
    states = []
    for plain in (False, True):
        network = build(
            method, image_shape=(3, 8, 8), num_classes=3, model=model, boundary={"dropout": 0.0}
        )
        assert opened(network) == [True, True]
        if plain:
            for block in network:
                block.body[-1] = nn.ReLU(inplace=True)
                block.objective.rectified = False
        learner = learner_of(network, (3, 1))
        for _ in range(3):
            learner.step(x, y)
        states.append(network.state_dict())
    assert same(*states)


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("sff", {"objective": {"kernel": 3}}),
        ("mono-forward", {}),
        ("backprop", {}),
        ("deep-supervision", {}),
        ("asge", {"plan": "end-to-end"}),
        ("asge", {"plan": "pairs"}),
        ("asge", {"update": "forward-gradient"}),
        ("asge", {"update": "heads"}),
    ],
)
def test_the_mask_stays_where_the_gradient_needs_it(method, values):
    network = build(method, image_shape=(3, 8, 8), num_classes=3, model="small-cnn", **values)

    assert not any(opened(network))


def test_an_update_of_the_user_s_own_is_asked_what_it_records(monkeypatch):
    monkeypatch.setitem(UPDATES._entries, "own", type("Own", (UPDATES["gradient"],), {}))
    network = build("asge", image_shape=(3, 8, 8), num_classes=3, model="small-cnn", update="own")

    assert any(opened(network))


def test_only_a_last_relu_that_works_in_place_is_opened():
    conv = nn.Conv2d(3, 3, 1)

    assert isinstance(with_open_end(nn.Sequential(conv, nn.ReLU(inplace=True)))[-1], OpenReLU)
    for body in (nn.Sequential(conv, nn.ReLU()), nn.Sequential(conv), nn.Sequential(), conv):
        assert with_open_end(body) is body
