"""``goodness partition``, ``goodness models`` and ``goodness export``."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from safetensors.torch import load_file

from goodness import fit

TINY = {"name": "timm/resnet10t", "args": {"channels": [4, 4, 8, 8], "stem_width": 4}}


def test_partition_shows_every_block_and_its_cost(goodness):
    code, out, _ = goodness("partition", "timm/resnet18", "--json")
    shown = json.loads(out)
    blocks = shown["blocks"]

    assert code == 0
    assert [block["name"] for block in blocks][:3] == ["conv1", "layer1.0", "layer1.1"]
    assert blocks[-1]["name"] == "head"
    assert len(blocks) == 10
    network = timm.create_model("resnet18", num_classes=10)
    assert sum(b["parameters"] for b in blocks) == sum(p.numel() for p in network.parameters())
    # conv1: 64 maps of 32x32 pixels, each of 3 * 7 * 7 products and as many sums.
    assert blocks[0]["flops"] == 2 * 64 * 32 * 32 * 3 * 7 * 7
    # Kept for the gradient: the image, and the maps in front of and behind the norm.
    assert blocks[0]["activation_bytes"] == 4 * (3 + 64 + 64) * 32 * 32 + 2 * 64 * 4 // 2
    assert blocks[1]["input"] == blocks[1]["output"] == [64, 32, 32]


def test_partition_for_people(goodness):
    code, out, _ = goodness(
        "partition", "small-cnn", "--partition", "2", "--image-size", "8", "--channels", "1"
    )
    assert code == 0
    assert "2 blocks" in out
    assert "MFLOPs" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["partition", "timm/resnet81"], "did you mean"),
        (["partition", "resnet18"], "did you mean torchvision/resnet18 or timm/resnet18?"),
        (["partition", "timm/resnet18", "--partition", "99"], "at most"),
        (["partition", "vgg8", "--partition", "0"], "partition.blocks: Input should be greater"),
        (["partition", "timm/resnet18", "--partition", "blocks"], "did you mean 'block'"),
        (["partition", "timm/resnet18", "--model-arg", "channels"], "--model-arg needs key=value"),
        (["partition", "torchvision/vgg11", "--image-size", "8"], "cannot serve an image of 3x8x8"),
        (["models", "tim"], "unknown family of models 'tim'; did you mean 'timm'"),
        (["models", "timm", "--like", "xyz*"], "no model of timm is like 'xyz*'"),
        (["train", "--model", "timm/resnet18", "--freeze-until", "layer9"], "unknown block"),
        (["train", "--init-from", "/no/such.pth"], "there are no weights at '/no/such.pth'"),
        (["train", "--per-class", "1000"], "training images, not 1000"),
        (["train", "--class-names", "3,x"], "unknown class 'x'"),
    ],
)
def test_bad_input_is_one_line(refused, args, message):
    assert message in refused(*args)


def test_models_of_the_families(goodness):
    _, out, _ = goodness("models", "timm", "--like", "resnet1*t", "--json")
    assert [row["name"] for row in json.loads(out)] == ["timm/resnet10t", "timm/resnet14t"]
    _, out, _ = goodness("models")
    assert "small-cnn" in out
    assert "goodness models timm" in out


@pytest.mark.parametrize(("boundary", "noted"), [("identity", False), ("layer-norm", True)])
def test_export_gives_the_plain_model_its_weights(goodness, tmp_path, boundary, noted):
    trained = fit(
        method="sff",
        model=TINY,
        boundary=boundary,
        out=tmp_path / "run",
        epochs=1,
        steps_per_epoch=2,
        final_test=False,
    )
    code, out, err = goodness("export", str(tmp_path / "run"))

    assert code == 0
    assert ("come out differently" in err) is noted
    plain = timm.create_model("resnet10t", num_classes=10, in_chans=1, **TINY["args"])
    plain.load_state_dict(load_file(out.strip()))
    for key, value in trained.network.backbone_state().items():
        assert torch.equal(plain.state_dict()[key], value)
