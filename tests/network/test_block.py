"""A block called in a loop of the user's own."""

from __future__ import annotations

import copy

import pytest
import torch

from goodness import InputError, Learner, build
from goodness.clock import Clock
from goodness.objective import Context

IMAGE = (1, 8, 8)
CNN = {"name": "small-cnn", "widths": [4, 6, 8], "pools": [1]}
MLP = {"name": "mlp", "widths": [12, 10, 8], "norm": "batch"}
VIT = {
    "name": "timm/vit_tiny_patch16_224",
    "args": {"depth": 2, "patch_size": 4, "embed_dim": 12, "num_heads": 2},
}


def make(method, **values):
    return build(method, image_shape=IMAGE, num_classes=4, **{"model": CNN, **values})


@pytest.mark.parametrize(
    ("method", "model"),
    [
        *((method, CNN) for method in ("asge-fast", "trgl")),
        ("trgl", MLP),
        ("trgl", VIT),
    ],
)
def test_blocks_one_after_another_learn_what_the_learner_does(method, model, batch):
    images, y = batch(8, IMAGE, 4)
    network = make(method, model=model, boundary="identity")
    report = Learner(copy.deepcopy(network)).step(images, y, Clock(0, 10, 2))
    x = network.train().present(images, y)

    for block, expected in zip(network, report.losses, strict=True):
        loss, x = block(x, y)
        torch.testing.assert_close(loss.detach(), expected)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ff", r"judges positive and negative rows, not 8 for 8 labels"),
        ("scff", r"judges positive and negative rows"),
        ("ff-collaborative", "judges positive and negative rows"),
        ("cafo-dfa", "reads every block's scores"),
        ("distance-forward-r", "reads every block's scores"),
        ("infopro", r"reads the image \(give look"),
        ("backprop", "has no objective of its own: use network.step"),
    ],
)
def test_a_block_that_needs_more_than_it_is_given_says_so(method, message, batch):
    images, y = batch(8, IMAGE, 4)
    with pytest.raises(InputError, match=message) as error:
        make(method)[0](images, y)
    assert "\n" not in str(error.value)


def test_a_block_that_looks_ahead_is_given_the_scores(batch):
    images, y = batch(8, IMAGE, 4)
    network = make("ff-collaborative")
    rows = network.present(images, y)
    for look in (None, Context(rows, images)):
        with pytest.raises(InputError, match="reads every block's scores"):
            network[0](rows, y, look)
    ahead = [torch.ones(16, 1) for _ in network]
    assert network[0](rows, y, Context(rows, images, ahead))[0].isfinite()
