"""A block alone."""

from __future__ import annotations

import pytest
import torch

from helpers import random_batch, tiny_network

MLP = {"name": "mlp", "widths": [12, 10, 8], "norm": "batch"}
VIT = {
    "name": "timm/vit_tiny_patch16_224",
    "args": {"depth": 2, "patch_size": 4, "embed_dim": 12, "num_heads": 2},
}


@pytest.mark.parametrize("boundary", ["identity", "rms"])
@pytest.mark.parametrize("model", [{"name": "small-cnn", "widths": [4, 6]}, MLP, VIT], ids=str)
def test_blocks_one_after_another_give_what_the_network_does(model, boundary):
    network = tiny_network("trgl", model=model, boundary=boundary).eval()
    x, _ = random_batch(3)
    rows = x
    for block, expected in zip(network, network.features(x), strict=True):
        value = block.body(rows)
        assert block.features(value).shape[1:] == block.spec.features
        assert block.features(value).dtype is torch.float32
        rows = block(rows)
        assert torch.equal(rows, expected)
        assert torch.equal(rows, block.output(value))
        assert block.scores(value).shape == (3, 4)


def test_a_block_without_a_loss_has_no_scores():
    network = tiny_network("backprop")
    assert network[0].scores(network[0].body(random_batch(3)[0])) is None
