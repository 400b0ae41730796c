"""A user's own network in a user's own trainer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from goodness import InputError, localize
from goodness.methods import METHODS

IMAGE = (3, 16, 16)
METHODS_OF_ISSUE = ["asge", "sff", "predsim", "mono-forward", "dgl", "backprop"]


def narrow(num_classes=4):
    torch.manual_seed(0)
    return timm.create_model(
        "resnet10t", num_classes=classes, channels=[8, 8, 16, 16], stem_width=8
    )


@pytest.mark.parametrize("method", ["sff", "mono-forward", "backprop"])
def test_two_lines_learn_a_batch(method, batch):
    x, y = batch(16, IMAGE, 4)
    network = localize(narrow(), method, "block", num_classes=4, image_shape=x, lr=3e-3)

    losses = [network.step(x, y) for _ in range(40)]

    assert losses[0].shape == ()
    assert not losses[0].requires_grad
    assert losses[-1] < 0.8 * losses[0]
    assert (network.predict(x) == y).float().mean() > 0.9
    assert torch.equal(network.scores(x).argmax(1), network.predict(x))


def test_the_user_s_own_model_is_what_is_trained(batch):
    x, y = batch(8, IMAGE, 4)
    model = narrow()
    before = copy.deepcopy(model.state_dict())
    network = localize(
        model, "sff", "block", num_classes=4, image_shape=IMAGE, boundary="identity"
    )
    network.step(x, y)

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
def test_granularity(partition, blocks):
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
    assert localize(model, image_shape=IMAGE)[0].spec.classes == 7
    assert model.fc is kept


def test_by_name_and_by_hand(batch):
    x, y = batch(8, IMAGE, 4)
    named = localize("timm/resnet10t", num_classes=4, image_shape=x)
    blocks = [nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3))]
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 144, 4))
    by_hand = localize([*blocks, head], num_classes=4, image_shape=x)
    features = localize(nn.Sequential(*blocks), num_classes=4, image_shape=x)

    for network in (named, by_hand, features):
        assert torch.isfinite(network.step(x, y))
        assert network.predict(x).shape == (8,)
    assert by_hand.names == ["block1", "block2"]
    assert "head" in by_hand.readouts
    assert "head" not in features.readouts
    nn.Sequential(*blocks, head).load_state_dict(by_hand.backbone_state())


def test_a_run_of_known_length_has_the_method_s_own_rates(batch):
    x, y = batch(8, IMAGE, 4)
    rates = []
    network = localize(narrow(), image_shape=x, epochs=2, steps_per_epoch=5)
    for _ in range(11):  # one more than was said
        network.step(x, y)
        assert network._stepper is not None
        optimizers = network._stepper.learner.optimizers
        rates.append(next(iter(optimizers.values())).param_groups[0]["lr"])

    assert rates[0] < max(rates)
    assert rates[9] < max(rates) / 5
    assert rates[10] == rates[9]


@pytest.mark.parametrize("method", ["cwc", "cafo", "scff"])
def test_a_method_that_needs_to_know_the_length_says_so(method, batch):
    x, y = batch(8, IMAGE, 4)
    model = {"model": "small-cnn"} if method == "scff" else {"model": narrow()}
    with pytest.raises(InputError, match=f"'{method}' goes by the length of the run"):
        localize(**model, method=method, num_classes=4, image_shape=x).step(x, y)
    network = localize(
        **model, method=method, num_classes=4, image_shape=x, epochs=1, steps_per_epoch=3
    )
    for _ in range(3):
        network.step(x, y)


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
        (narrow(), {"example_input": None}, "example_input: images"),
        (narrow(), {"example_input": (16, 16)}, r"example_input: .* \(got \(16, 16\)\)"),
        (narrow(), {"example_input": 5}, r"example_input: .* \(got 5\)"),
        (narrow(), {"example_input": np.zeros((2, 3, 8, 8))}, r"\(got ndarray\)"),
        (narrow(), {"example_input": (3, -1, 8)}, r"example_input: .* \(got \(3, -1, 8\)\)"),
        (narrow(), {"example_input": (3, 8.0, 8)}, r"example_input: .* \(got \(3, 8.0, 8\)\)"),
        (narrow(), {"num_classes": 0}, r"num_classes: .* \(got 0\)"),
        (narrow(), {"num_classes": 2.0}, r"num_classes: .* \(got 2.0\)"),
        (narrow(1), {"num_classes": None}, r"num_classes: .* \(got 1\)"),
        ("timm/resnet10t", {"num_classes": 1}, r"num_classes: .* \(got 1\)"),
        (narrow(), {"partition": "blok"}, "unknown partition 'blok'; did you mean 'block'"),
        (narrow(), {"partition": 99}, "at most 7 blocks, not 99"),
        (narrow(), {"partition": 0}, "partition.blocks"),
        (narrow(), {"method": "asgee"}, "unknown method"),
        ("timm/resnet10t", {"num_classes": None}, "num_classes: how many"),
        (Probabilities(), {}, "must give scores"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), {"num_classes": None}, "num_classes: how many"),
        ([], {}, "at least one block"),
        ([nn.Conv2d(3, 4, 3)], {}, "at least one block"),
        (narrow(), {"example_input": (1, 16, 16)}, "cannot serve an image of 1x16x16"),
        (torchvision.models.vgg11_bn(), {"example_input": (3, 8, 8)}, "cannot serve an image"),
    ],
)
def test_bad_input(model, given, message):
    with pytest.raises(InputError, match=message) as error:
        localize(model, **{"num_classes": 4, "example_input": IMAGE, **given})
    assert "\n" not in str(error.value)


def test_bad_images(batch):
    network = localize(narrow(), num_classes=4, image_shape=IMAGE)
    with pytest.raises(InputError, match="unknown readout 'heads'; did you mean 'head'"):
        network.predict(torch.zeros(1, *IMAGE), "heads")
    with pytest.raises(InputError, match=r"images of \(3, 9, 9\): the network takes \(3, 16, 16\)"):
        network.predict(torch.zeros(1, 3, 9, 9))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(4, 1, 16, 16), torch.zeros(4).long(), r"images of \(1, 16, 16\)"),
        (torch.zeros(0, *IMAGE), torch.zeros(0).long(), "a batch of no images"),
        (torch.zeros(4, *IMAGE), torch.zeros(3).long(), r"labels \(3,\) .* 4 images"),
        (torch.zeros(4, *IMAGE), torch.zeros(4, 1).long(), r"labels \(4, 1\) .* 4 images"),
        (torch.zeros(4, *IMAGE), torch.zeros(4), "labels .* of torch.float32"),
        (torch.zeros(4, *IMAGE), torch.tensor([0, 1, 2, 4]), "labels from 0 to 4: .* from 0 to 3"),
        (torch.zeros(4, *IMAGE), torch.tensor([0, 1, 2, -1]), "labels from -1 to 2"),
    ],
)
def test_a_bad_batch(x, y, message):
    network = localize(narrow(), num_classes=4, image_shape=IMAGE)
    with pytest.raises(InputError, match=message) as error:
        network.step(x, y)
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
@pytest.mark.parametrize("method", METHODS_OF_ISSUE)
def test_every_backbone_is_trained(name, method, batch):
    x, y = batch(8, (3, 32, 32), 4)
    args = {"args": {"depth": 2, "patch_size": 8}} if "vit" in name else {}
    network = localize(
        {"name": name, **args}, method, "block", num_classes=4, image_shape=x, lr=1e-3
    )
    before = {key: value.clone() for key, value in network.backbone_state().items()}
    for _ in range(2):
        assert torch.isfinite(network.step(x, y))

    after = network.backbone_state()
    assert all(torch.isfinite(value).all() for value in after.values())
    still = [k for k, v in before.items() if v.is_floating_point() and torch.equal(after[k], v)]
    # The class token is not judged in the block that adds it.
    assert [key for key in still if key != "cls_token"] == []
    assert network.predict(x).shape == (8,)


@SLOW
@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("name", ["timm/resnet10t", "timm/vit_tiny_patch16_224"])
def test_every_method_trains_or_is_refused(method, name, batch):
    x, y = batch(8, (3, 32, 32), 4)
    args = {"depth": 2, "patch_size": 8} if "vit" in name else {}
    length = {"epochs": 2, "steps_per_epoch": 2}
    try:
        network = localize(
            {"name": name, "args": args}, method, "block", 4, image_shape=x, **length
        )
        for _ in range(4):
            loss = network.step(x, y)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        print(f"refused: {method} on {name}: {error}")
        return
    assert torch.isfinite(loss)
    assert network.predict(x).shape == (8,)
