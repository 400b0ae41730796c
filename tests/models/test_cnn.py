"""The recipes that a chain is built from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodness import InputError, build
from goodness.models import MODELS
from goodness.partition import split


def make(image_shape=(3, 8, 8), num_classes=4, model="cnn", **options):
    torch.manual_seed(0)
    return MODELS.make(MODELS.resolve({"name": model, **options}), image_shape, num_classes)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("conv-norm-act", ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]),
        ("conv-act-pool-norm", ["Conv2d", "ReLU", "MaxPool2d", "BatchNorm2d"]),
        ("norm-conv-act", ["BatchNorm2d", "Conv2d", "ReLU", "MaxPool2d"]),
    ],
)
def test_order(order, expected):
    layers = make(widths=[4, 6], pools=[1, 2], order=order)
    pieces, _ = split(layers, torch.zeros(2, 3, 8, 8), 4, {"name": "layer"})

    for piece in pieces:
        modules = [*piece.body.modules(), *piece.tail.modules()]
        assert [type(m).__name__ for m in modules if not isinstance(m, nn.Sequential)] == expected
    # What stands behind a pooling belongs to the features, and so does the pooling.
    assert [len(piece.tail) for piece in pieces] == [int(order != "conv-act-pool-norm")] * 2


def test_every_other_convolution_is_grouped_by_class():
    layers = make(widths=[8, 16, 8, 16], pools=[], grouped=True)
    groups = [layer.groups for layer in layers if isinstance(layer, nn.Conv2d)]

    assert groups == [1, 4, 1, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [8, 18], "pools": [], "grouped": True}, "8 to 18 .* 4 groups; .* e.g. 20"),
        ({"widths": [8, 16], "pools": [], "groups": [1]}, "one number per convolution"),
        ({"widths": [], "pools": []}, "at least one layer"),
        ({"widths": [4], "pools": [2]}, "no convolution 2"),
        ({"widths": [4, 4, 4, 4], "pools": [1, 2, 3, 4]}, "8x8 pixels are too few"),
        ({"widths": [4, 4], "pools": [], "kernel": 2, "shortcut": True}, "odd kernels"),
        ({"widths": [4], "pools": [], "first_kernel": 4, "shortcut": True}, "odd kernels"),
    ],
)
def test_bad_recipes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_shortcuts_add_the_input_with_repeated_channels():
    (layer,) = make((2, 4, 4), widths=[5], pools=[], norm="none", shortcut=True)
    x = torch.randn(3, 2, 4, 4)

    y = layer(x)

    inner = layer.layer(x)
    for d in range(5):
        torch.testing.assert_close(y[:, d], inner[:, d] + x[:, [0, 0, 0, 1, 1][d]])


def test_straight_through_relu_passes_every_gradient():
    layers = make((1, 2, 2), model="mlp", widths=[6], activation="straight-through")
    z = torch.randn(5, 6, 1, 1, requires_grad=True)

    h = layers[-1](z)
    h.sum().backward()

    assert torch.equal(h, z.relu())
    assert torch.equal(z.grad, torch.ones_like(z))


def test_an_mlp_has_a_block_per_layer_and_the_released_initialisation():
    network = build("ff", image_shape=(1, 28, 28), num_classes=10)

    assert [block.spec.features for block in network] == [(1000, 1, 1)] * 3
    for block in network:
        layer = block.body[0]
        assert abs(layer.weight.std() * 1000**0.5 - 1) < 0.01
        assert not layer.bias.any()


def test_a_first_kernel_of_its_own_keeps_the_size():
    layers = make(widths=[4, 4], pools=[], first_kernel=5)

    sizes = [layer.kernel_size for layer in layers if isinstance(layer, nn.Conv2d)]
    assert sizes == [(5, 5), (3, 3)]
    assert layers(torch.zeros(2, 3, 8, 8)).shape == (2, 4, 8, 8)
