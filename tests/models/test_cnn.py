"""The recipes that a chain is built from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodness import InputError, build
from goodness.comparison.protocol import values_for
from goodness.config import merge, resolve
from goodness.methods import METHODS
from goodness.models import MODELS
from goodness.models.base import MADE_OF
from goodness.models.cnn import Shortcut
from goodness.partition import split


def make(image_shape=(3, 8, 8), num_classes=4, model="cnn", **options):
    torch.manual_seed(0)
    return MODELS.make(MODELS.resolve({"name": model, **options}), image_shape, num_classes)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("conv-norm-act", ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]),
        ("conv-pool-norm-act", ["Conv2d", "MaxPool2d", "BatchNorm2d", "ReLU"]),
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
    assert [len(piece.tail) for piece in pieces] == [int(expected[-1] == "MaxPool2d")] * 2


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


def test_shortcuts_around_the_layers_that_keep_the_shape():
    given = {"widths": [4, 4, 4, 6], "pools": [3], "shortcut": "equal", "norm": "batch"}
    given |= {"order": "conv-pool-norm-act", "activation": "gelu"}
    layers = make((2, 8, 8), **given).eval()
    around = [name for name, layer in layers.named_children() if isinstance(layer, Shortcut)]
    assert around == ["conv2"]
    assert list(layers.conv2.layer._modules) == ["conv", "norm", "relu"]
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(layers.conv2(x), x + layers.conv2.layer(x))


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


@pytest.mark.parametrize(
    ("channels", "width", "groups", "kernel"),
    [(3, 8, 1, 3), (8, 3, 1, 3), (6, 12, 3, 3), (12, 6, 2, 5), (3, 8, 1, 1)],
)
def test_dirac_filters_hand_on_the_input_and_the_others_are_torch_s(
    channels, width, groups, kernel
):
    """Group by group; the bias is 0."""
    options = {"widths": [width], "pools": [], "groups": [groups], "kernel": kernel}
    conv = make((channels, 8, 8), norm="none", init="dirac", **options)[0]
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, width, kernel, groups=groups)
    x = torch.randn(2, channels, 8, 8)

    y = conv(x)

    assert not conv.bias.any()
    inputs, outputs = channels // groups, width // groups
    for group in range(groups):
        for place in range(outputs):
            own, other = (w[group * outputs + place] for w in (conv.weight, plain.weight))
            if place < inputs:
                given = x[:, group * inputs + place]
                torch.testing.assert_close(y[:, group * outputs + place], given)
            else:
                assert torch.equal(own, other)


@pytest.mark.parametrize(
    ("init", "deviation", "largest"),
    [
        ("kaiming", (2 / (16 * 9)) ** 0.5, None),
        ("kaiming-out", (2 / (64 * 9)) ** 0.5, None),
        ("xavier", (2 / ((16 + 64) * 9)) ** 0.5, (6 / ((16 + 64) * 9)) ** 0.5),
        ("default", (1 / (3 * 16 * 9)) ** 0.5, (1 / (16 * 9)) ** 0.5),
    ],
)
def test_first_weights(init, deviation, largest):
    conv = make((16, 8, 8), widths=[64], pools=[], norm="none", init=init)[0]

    assert conv.weight.std().item() == pytest.approx(deviation, rel=0.03)
    assert conv.bias.any() == (init == "default")
    if largest is None:  # normal: 9216 of them reach far beyond what a uniform draw could
        assert conv.weight.abs().max() > 3 * deviation
    else:
        assert largest * 0.99 < conv.weight.abs().max() <= largest * 1.0001


@pytest.mark.parametrize("init", ["kaiming", "default"])
def test_fully_connected_layers_of_a_chain_are_drawn_alike(init):
    dense = make((4, 4, 4), widths=[4], pools=[], dense=[512], norm="none", init=init).dense1

    expected = (2 if init == "kaiming" else 1 / 3) / 64
    assert dense.weight.var().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("method", "init"),
    [
        *((name, "default") for name in ("cwc", "cafo", "cafo-ce", "cafo-dfa", "trifecta", "dgl")),
        ("bwbpf", "default"),
        ("scff", "xavier"),
        ("deeperforward", "kaiming-out"),
        ("hcl-ff", "kaiming-out"),
        ("asge", "kaiming"),
    ],
)
def test_methods_start_as_their_released_code_does(method, init):
    assert resolve({"method": method}).model["init"] == init


def test_gelu():
    layers = make(widths=[4], pools=[], norm="none", activation="gelu")
    x = torch.randn(2, 3, 8, 8)

    z = layers[0](x)

    torch.testing.assert_close(layers(x), z * 0.5 * (1 + torch.erf(z / 2**0.5)))


@pytest.mark.parametrize("model", ["cnn", "vgg8", "vgg11", "small-cnn"])
def test_all_chains_have_the_same_recipe(model):
    options = {"norm": "batch", "pool": "max", "activation": "gelu", "init": "dirac", "whiten": 2}
    given = {"widths": [4, 5, 6], "pools": [1, 3], "order": "conv-pool-norm-act", **options}

    layers = make((3, 16, 16), model=model, **given)

    first = ["Whitening", "GELU"]
    pooled = ["Conv2d", "MaxPool2d", "BatchNorm2d", "GELU"]
    plain = ["Conv2d", "BatchNorm2d", "GELU"]
    assert [type(layer).__name__ for layer in layers] == [*first, *pooled, *plain, *pooled]
    assert layers(torch.zeros(2, 3, 16, 16)).shape == (2, 6, 3, 3)


def test_a_method_s_recipe_is_kept_for_another_chain():
    own = resolve({"method": "cwc"}).model["order"]

    assert own != "conv-norm-act"
    assert resolve({"method": "cwc", "model": "small-cnn"}).model["order"] == own
    frame = {"name": "cnn", "activation": "gelu", "init": "dirac", "whiten": 2}
    kept = merge({"model": {**frame, "kernel": 5}}, {"model": "vgg8"})["model"]
    assert kept == {**frame, "name": "vgg8"}


@pytest.mark.parametrize("method", METHODS.names())
def test_a_comparison_on_equal_terms_has_one_recipe(method):
    given = values_for(method, "cifar10", "equal", {})
    model = resolve({**given, "method": method, "data": "cifar10"}).model

    if "model" not in METHODS[method].equal:
        assert {name: model[name] for name in MADE_OF} == {
            **{"norm": "batch", "pool": "max", "activation": "relu", "order": "conv-norm-act"},
            **{"init": "kaiming", "whiten": None},
        }
