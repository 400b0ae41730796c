from __future__ import annotations

import pytest
import torch
from torch import nn

from goodness.models import MODELS
from goodness.partition import PARTITIONS

CASES = [
    ("small-cnn", (1, 32, 32), {"widths": [2, 3, 4, 5]}, ["conv1", "conv2", "conv3", "conv4"]),
    ("vgg8", (3, 32, 32), {}, ["conv1", "conv3", "conv5", "conv6", "conv7"]),
    ("vgg11", (3, 32, 32), {}, ["conv1", "conv3", "conv5", "conv7", "conv9"]),
]


def make(model, image, **options):
    return MODELS.make(MODELS.resolve({"name": model, **options}), image, 10)


@pytest.mark.parametrize(("model", "image", "options", "starts"), CASES)
def test_a_block_per_layer_with_weights(model, image, options, starts):
    layers = make(model, image, **options)
    convolutions = [n for n, layer in layers.named_children() if isinstance(layer, nn.Conv2d)]

    pieces = PARTITIONS["layer"](layers)

    assert [piece.name for piece in pieces] == convolutions
    for piece in pieces:
        assert sum(isinstance(layer, nn.Conv2d) for layer in piece.body) == 1


@pytest.mark.parametrize(("model", "image", "options", "starts"), CASES)
def test_a_block_per_resolution(model, image, options, starts):
    pieces = PARTITIONS["block"](make(model, image, **options))

    assert [piece.name for piece in pieces] == starts
    # A new resolution begins after every block but the last.
    assert [len(piece.tail) for piece in pieces] == [1] * (len(pieces) - 1) + [0]


@pytest.mark.parametrize("partition", ["layer", "block"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_pieces_make_up_the_network_and_pooling_is_not_judged(partition, norm):
    layers = make("small-cnn", (1, 13, 11), widths=[2, 3, 4], pools=[2], norm=norm).eval()
    x = torch.randn(2, 1, 13, 11)
    whole = layers(x)

    pieces = PARTITIONS[partition](layers)
    for piece in pieces:
        assert isinstance(piece.body[-1], nn.ReLU)
        assert all(isinstance(layer, nn.AvgPool2d) for layer in piece.tail)
        x = piece.tail(piece.body(x))

    assert torch.equal(x, whole)
    modules = [m for piece in pieces for m in (*piece.body, *piece.tail)]
    assert modules == list(layers)
