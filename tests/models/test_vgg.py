from __future__ import annotations

import pytest
import torch
from torch import nn

from goodness.errors import InputError
from goodness.models import MODELS


def drawn(name, image, **options):
    """A model as the paper writes it: widths, with a p where a pooling follows."""
    words = []
    for layer in MODELS.make(MODELS.resolve({"name": name, **options}), image, 10):
        if isinstance(layer, nn.Conv2d):
            words.append(str(layer.out_channels))
        elif isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
            words[-1] += "p"
    return ",".join(words)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("vgg8", "128,256p,256,512p,512p,512p,512"),
        ("vgg11", "128,256p,256,512p,512,512p,512,512p,512,512"),
        ("vgg8b", "128,256p,256,512p,512p,512p"),
        ("vgg11b", "128,128,128,256p,256,512p,512,512p,512p"),
    ],
)
def test_networks_are_the_paper_s(name, layers):
    assert drawn(name, (3, 32, 32)) == layers


def test_predsim_s_networks_start_as_torch_draws_them():
    model = MODELS.make(MODELS.resolve({"name": "vgg8b"}), (3, 32, 32), 10)

    weighted = [layer for layer in model if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [type(layer).__name__ for layer in weighted] == ["Conv2d"] * 6 + ["Dense"]
    for layer in weighted:
        inputs = layer.weight[0].numel()
        assert layer.weight.var().item() == pytest.approx(1 / (3 * inputs), rel=0.05)
        assert layer.weight.abs().max() <= inputs**-0.5


@pytest.mark.parametrize("model", ["vgg8", "vgg11"])
def test_images_that_are_halved_too_often_are_refused(model):
    with pytest.raises(InputError, match=rf"{model} .*8x8.*--image-size 32"):
        drawn(model, (1, 8, 8))
    assert drawn(model, (1, 16, 16)).count("p") == 4


@pytest.mark.parametrize(
    ("image", "pools"),
    [
        ((3, 32, 32), "ppp."),
        ((1, 8, 8), "pp.."),  # 8, 4, 2: a third would leave 1
        ((3, 13, 11), "pp.."),  # 11, 5, 2
        ((1, 28, 3), "...."),  # the shorter side counts
        ((1, 4, 4), "p..."),
        ((1, 1, 1), "...."),
    ],
)
def test_small_cnn_leaves_out_poolings_that_would_leave_less_than_two_pixels(image, pools):
    widths = [2, 3, 4, 5]
    model = MODELS.make(MODELS.resolve({"name": "small-cnn", "widths": widths}), image, 10)

    expected = ",".join(
        f"{width}{'p' if mark == 'p' else ''}" for width, mark in zip(widths, pools, strict=True)
    )
    assert drawn("small-cnn", image, widths=widths) == expected
    sides = model(torch.zeros(1, *image)).shape[2:]
    assert min(sides) >= min(2, *image[1:])


@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_norm_and_pool_can_be_chosen(norm, pool):
    options = {"name": "small-cnn", "widths": [2, 3], "pools": [1], "norm": norm, "pool": pool}
    kinds = [type(layer) for layer in MODELS.make(MODELS.resolve(options), (1, 8, 8), 10)]

    norms = [nn.BatchNorm2d] if norm == "batch" else []
    pools = [nn.AvgPool2d if pool == "avg" else nn.MaxPool2d]
    assert kinds == [nn.Conv2d, *norms, nn.ReLU, *pools, nn.Conv2d, *norms, nn.ReLU]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"widths": []}, "model.widths"), ({"widths": [4], "pools": [2]}, "no convolution 2")],
)
def test_impossible_chains_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        drawn("small-cnn", (1, 8, 8), **options)


@pytest.mark.parametrize("wider", [1e-9, 1e300, float("nan")])
def test_a_factor_that_leaves_no_channels_or_too_many_is_refused(wider):
    with pytest.raises(InputError, match=r"model\.wider"):
        MODELS.resolve({"name": "vgg8b", "wider": wider})


def test_a_factor_widens_every_convolution():
    assert drawn("vgg8b", (3, 32, 32), wider=2.0).startswith("256,512p")
    # The smallest one leaves a channel.
    assert drawn("vgg8b", (1, 16, 16), wider=0.01).startswith("1,3p")
