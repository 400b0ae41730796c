"""A user's own network in a user's own loop."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from goodness import InputError, Learner, localize
from goodness.methods import METHODS

IMAGE = (3, 16, 16)
LARGE = (3, 32, 32)
TRAINED_ON_BACKBONES = ["asge", "sff", "predsim", "mono-forward", "dgl", "backprop"]


def narrow(num_classes=4):
    torch.manual_seed(0)
    return timm.create_model(
        "resnet10t", num_classes=num_classes, channels=[8, 8, 16, 16], stem_width=8
    )


@pytest.mark.parametrize("method", ["sff", "mono-forward", "backprop"])
def test_two_lines_learn_a_batch(method, batch):
    x, y = batch(16, IMAGE, 4)
    network = localize(narrow(), method, "block", num_classes=4, image_shape=IMAGE, lr=3e-3)

    learner = Learner(network)
    losses = [learner.step(x, y).loss for _ in range(40)]

    assert losses[0].shape == ()
    assert not losses[0].requires_grad
    assert losses[-1] < 0.8 * losses[0]
    assert (network.predict(x) == y).float().mean() > 0.9
    assert torch.equal(network.scores(x).argmax(1), network.predict(x))


def test_the_user_s_own_model_is_what_is_trained(batch):
    x, y = batch(8, IMAGE, 4)
    model = narrow()
    before = copy.deepcopy(model.state_dict())
    network = localize(model, "sff", "block", num_classes=4, image_shape=IMAGE, boundary="identity")
    Learner(network).step(x, y)

    state = network.backbone_state()
    assert state.keys() == before.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert any(not torch.equal(state[key], value) for key, value in before.items())
    # Without anything at the boundaries the blocks in a row are the model.
    plain = narrow()
    plain.load_state_dict(state)
    with torch.no_grad():
        assert torch.allclose(network.scores(x, "head"), plain.eval()(x), atol=1e-6)


def test_what_a_boundary_does_is_no_part_of_the_model(batch):
    x, _ = batch(8, IMAGE, 4)
    model = narrow()
    network = localize(model, "sff", "block", num_classes=4, image_shape=IMAGE)

    with torch.no_grad():
        assert not torch.allclose(network.scores(x, "head"), model.eval()(x))


@pytest.mark.parametrize(
    ("partition", "blocks"), [("layer", 7), ("block", 5), ("stage", 5), (3, 3), ("2", 2)]
)
def test_partitions(partition, blocks):
    network = localize(narrow(), partition=partition, num_classes=4, image_shape=(3, 32, 32))
    assert len(network) == blocks


@pytest.mark.parametrize("method", ["sff", "ff"])
@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 4)),
        [nn.Sequential(nn.Flatten(), nn.Linear(768, 8)), nn.Linear(8, 4)],
        narrow(),
    ],
    ids=["features", "units", "by hand", "resnet"],
)
def test_a_model_is_cut_where_it_is(model, method):
    here, there = copy.deepcopy(model), copy.deepcopy(model)
    for part in there if isinstance(there, list) else [there]:
        part.to("meta")  # as a GPU it has no values in common with the CPU

    expected, network = (
        localize(cut, method, "block", num_classes=4, image_shape=IMAGE) for cut in (here, there)
    )

    assert network.facts() == expected.facts()
    assert {value.device.type for value in network.state_dict().values()} == {"meta"}


def test_other_classes_replace_the_classifier():
    model = narrow(num_classes=7)
    network = localize(model, num_classes=4, image_shape=IMAGE)
    assert model.fc.weight.shape == (4, 16)
    assert network.predict(torch.zeros(2, *IMAGE)).shape == (2,)
    model = narrow(num_classes=7)
    kept = model.fc
    assert localize(model, image_shape=IMAGE)[0].spec.num_classes == 7
    assert model.fc is kept


def test_by_name_and_by_hand(batch):
    x, y = batch(8, IMAGE, 4)
    named = localize("timm/resnet10t", num_classes=4, image_shape=IMAGE)
    blocks = [nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3))]
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 144, 4))
    by_hand = localize([*blocks, head], num_classes=4, image_shape=IMAGE)
    features = localize(nn.Sequential(*blocks), num_classes=4, image_shape=IMAGE)

    for network in (named, by_hand, features):
        assert torch.isfinite(Learner(network).step(x, y).loss)
        assert network.predict(x).shape == (8,)
    assert by_hand.names == ["block1", "block2"]
    assert "head" in by_hand.readouts
    assert "head" not in features.readouts
    nn.Sequential(*blocks, head).load_state_dict(by_hand.backbone_state())


class Probabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3))).softmax(1)


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (narrow(), {"image_shape": None}, r"image_shape: .* \(got None\)"),
        (narrow(), {"image_shape": (16, 16)}, r"image_shape: .* \(got \(16, 16\)\)"),
        (narrow(), {"image_shape": 5}, r"image_shape: .* \(got 5\)"),
        (narrow(), {"image_shape": np.zeros((2, 3, 8, 8))}, r"\(got a ndarray\)"),
        (narrow(), {"image_shape": (3, -1, 8)}, r"image_shape: .* \(got \(3, -1, 8\)\)"),
        (narrow(), {"image_shape": (3, 8.0, 8)}, r"image_shape: .* \(got \(3, 8.0, 8\)\)"),
        (narrow(), {"num_classes": 0}, r"num_classes: .* \(got 0\)"),
        (narrow(), {"num_classes": 2.0}, r"num_classes: .* \(got 2.0\)"),
        (narrow(1), {"num_classes": None}, r"num_classes: .* \(got 1\)"),
        ("timm/resnet10t", {"num_classes": 1}, r"num_classes: .* \(got 1\)"),
        (narrow(), {"image_size": 32}, "image_size: of no meaning here"),
        (narrow(), {"per_class": 5}, "per_class: of no meaning here"),
        (narrow(), {"classes": 10}, "unknown argument 'classes'; did you mean 'num_classes'"),
        (narrow(), {"partition": "blok"}, "unknown partition 'blok'; did you mean 'block'"),
        (narrow(), {"partition": 99}, "at most 7 blocks, not 99"),
        (narrow(), {"partition": 0}, "partition.blocks"),
        (narrow(), {"method": "asgee"}, "unknown method"),
        ("timm/resnet10t", {"num_classes": None}, "num_classes: how many"),
        (Probabilities(), {}, "must give scores"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), {"num_classes": None}, "num_classes: how many"),
        ([], {}, "at least one block"),
        ([nn.Conv2d(3, 4, 3)], {}, "at least one block"),
        (narrow(), {"image_shape": (1, 16, 16)}, "cannot serve an image of 1x16x16"),
        (torchvision.models.vgg11_bn(), {"image_shape": (3, 8, 8)}, "cannot serve an image"),
    ],
)
def test_bad_input(model, given, message):
    with pytest.raises(InputError, match=message) as error:
        localize(model, **{"num_classes": 4, "image_shape": IMAGE, **given})
    assert "\n" not in str(error.value)


SLOW = pytest.mark.slow
BACKBONES = [
    "timm/resnet10t",
    pytest.param("torchvision/resnet18", marks=SLOW),
    pytest.param("torchvision/resnet50", marks=SLOW),
    "torchvision/mobilenet_v3_small",
    pytest.param("torchvision/mobilenet_v3_large", marks=SLOW),
    pytest.param("torchvision/vgg11_bn", marks=SLOW),
    pytest.param("torchvision/densenet121", marks=SLOW),
    pytest.param("torchvision/efficientnet_b0", marks=SLOW),
    pytest.param("timm/convnext_atto", marks=SLOW),
    pytest.param("timm/regnety_002", marks=SLOW),
    "timm/vit_tiny_patch16_224",
    pytest.param("torchvision/swin_t", marks=SLOW),
]


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("method", TRAINED_ON_BACKBONES)
def test_every_backbone_is_trained(name, method, batch):
    x, y = batch(8, LARGE, 4)
    args = {"args": {"depth": 2, "patch_size": 8}} if "vit" in name else {}
    network = localize(
        {"name": name, **args}, method, "block", num_classes=4, image_shape=LARGE, lr=1e-3
    )
    before = {key: value.clone() for key, value in network.backbone_state().items()}
    learner = Learner(network)
    for _ in range(2):
        assert torch.isfinite(learner.step(x, y).loss)

    after = network.backbone_state()
    assert all(torch.isfinite(value).all() for value in after.values())
    still = [k for k, v in before.items() if v.is_floating_point() and torch.equal(after[k], v)]
    # The class token is no feature of the block that adds it.
    assert [key for key in still if key != "cls_token"] == []
    assert network.predict(x).shape == (8,)


@SLOW
@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("name", ["timm/resnet10t", "timm/vit_tiny_patch16_224"])
def test_every_method_trains_or_is_refused(method, name, batch):
    x, y = batch(8, LARGE, 4)
    args = {"depth": 2, "patch_size": 8} if "vit" in name else {}
    length = {"epochs": 2, "steps_per_epoch": 2}
    try:
        network = localize(
            {"name": name, "args": args},
            method,
            "block",
            num_classes=4,
            image_shape=LARGE,
            **length,
        )
        learner = Learner(network)
        for _ in range(4):
            loss = learner.step(x, y).loss
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        print(f"refused: {method} on {name}: {error}")
        return
    assert torch.isfinite(loss)
    assert network.predict(x).shape == (8,)
