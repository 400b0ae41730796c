"""Networks of torchvision and timm by name."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from goodness import InputError, build
from goodness.models import MODELS, zoo
from goodness.models.stem import stem_changes
from goodness.partition import split
from goodness.partition.costs import costs


def make(name, image_shape=(3, 32, 32), num_classes=10, **options):
    torch.manual_seed(0)
    return MODELS.make(MODELS.resolve({"name": name, **options}), image_shape, num_classes)


def sides(network, image_shape=(3, 32, 32)):
    """The side of every block's map."""
    pieces, _ = split(network, torch.zeros(2, *image_shape), 10, {"name": "block"})
    x = torch.zeros(1, *image_shape)
    found = []
    with torch.no_grad():
        for piece in pieces:
            x = piece.body.eval()(x)
            found.append(piece.features(x).shape[-1])
            x = piece.tail.eval()(x)
    return found


def test_a_small_image_keeps_its_resolution_at_first():
    assert sides(make("torchvision/resnet18")) == [32, 32, 32, 16, 16, 8, 8, 4, 4]
    assert sides(make("torchvision/resnet18", stem="own")) == [16, 8, 8, 4, 4, 2, 2, 1, 1]
    assert sides(make("torchvision/mobilenet_v3_small"))[:6] == [32, 32, 16, 16, 8, 8]


def test_a_large_image_and_a_transformer_keep_the_model_s_own_stem():
    network = make("torchvision/resnet18", (3, 128, 128))
    assert network.conv1.stride == (2, 2)
    assert isinstance(network.maxpool, nn.MaxPool2d)
    assert sides(make("timm/vit_tiny_patch16_224", args={"patch_size": 8, "depth": 2})) == [4] * 3


def test_what_was_changed_in_a_stem_is_said():
    for name, expected in {
        "torchvision/resnet18": "conv1: stride 1 instead of 2, maxpool: left out",
        "timm/convnext_atto": "stem.0: stride 2 instead of 4",
    }.items():
        assert stem_changes(make(name)) == expected
        assert stem_changes(make(name, stem="own")) == stem_changes(make(name, (3, 128, 128))) == ""
    network = build("sff", image_shape=(3, 32, 32), num_classes=10, model="torchvision/resnet18")
    (stem,) = [(fact["name"], fact["stem"]) for fact in network.facts() if "stem" in fact]
    assert stem == ("conv1", "conv1: stride 1 instead of 2, maxpool: left out")
    rows = costs(make("torchvision/resnet18"), (3, 32, 32), 10, {"name": "stage"})
    assert [row["stem"] for row in rows if "stem" in row] == [stem[1]]


def test_the_stem_keeps_the_weights_names_and_shapes():
    fitted, own = make("timm/convnext_atto"), make("timm/convnext_atto", stem="own")

    assert sides(fitted)[0] == 2 * sides(own)[0]
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (fitted, own)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["torchvision/mobilenet_v3_small", "timm/resnet18"])
def test_grey_images(name):
    network = make(name, (1, 32, 32)).eval()
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_arguments_go_to_the_constructor():
    network = make("timm/resnet18", args={"channels": [16, 32, 64, 128]})
    assert network.layer4[-1].conv2.out_channels == 128


def test_weights_are_the_library_s_own_draw():
    torch.manual_seed(0)
    theirs = timm.create_model("resnet18", num_classes=10)
    ours = make("timm/resnet18")
    pairs = zip(theirs.state_dict().values(), ours.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm/resnet81", {}, "did you mean timm/resnet18"),
        ("torchvision/resnet19", {}, "goodness models torchvision"),
        ("hub/resnet18", {}, "unknown model 'hub/resnet18'"),
        (
            "torchvision/resnet18",
            {"args": {"channels": [8]}},
            "channels is no argument of torchvision/resnet18's constructor",
        ),
        ("torchvision/vit_b_16", {"args": {"image_size": 33}}, "cannot be built"),
        ("timm/resnet18.nonexistent", {}, "Invalid pretrained tag"),
        ("timm/resnet18", {"args": {"block": "x"}}, "cannot be built .* with block='x': "),
        ("timm/resnet18", {"args": {"norm_layer": "foo"}}, "cannot be built"),
        ("timm/resnet18", {"args": {"in_chans": -1}}, "cannot be built"),
        ("timm/vit_tiny_patch16_224", {"args": {"patch_size": 0}}, "by zero"),
        ("module/ResNet", {}, "pass it to localize"),
    ],
)
def test_bad_names_and_arguments(name, options, message):
    with pytest.raises(InputError, match=message) as caught:
        make(name, **options)
    assert "\n" not in str(caught.value)


def test_unknown_options_are_named():
    with pytest.raises(InputError, match=r"model\.widths"):
        MODELS.resolve({"name": "timm/resnet18", "widths": [8]})


def test_both_families_can_be_listed():
    assert {"resnet18", "convnext_atto"} <= set(zoo.names("timm"))
    torchvision = zoo.names("torchvision")
    assert "resnet18" in torchvision
    assert not any("segmentation" in name or "quant" in name for name in torchvision)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *(
            (name, f"published weights of '{name}' cannot be had.*--init-from")
            for name in ("torchvision/resnet18", "timm/resnet18.a1_in1k")
        ),
        ("small-cnn", "no published weights of 'small-cnn'"),
    ],
)
def test_published_weights_that_cannot_be_had(name, message, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=message):
        build("sff", image_shape=(3, 32, 32), num_classes=10, model=name, pretrained=True)
