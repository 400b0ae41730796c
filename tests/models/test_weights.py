"""Weights from a file, another run or a hub."""

from __future__ import annotations

import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from goodness import InputError, build, fit
from goodness.models.weights import load_weights, read_weights


def network(channels=3, num_classes=4):
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, num_classes)
    )


def filled(value, **sizes):
    return {k: torch.full_like(v, value) for k, v in network(**sizes).state_dict().items()}


def test_every_tensor_is_taken():
    model = network()
    assert load_weights(model, filled(2), "x") == []
    assert all((value == 2).all() for value in model.state_dict().values())


def test_a_classifier_for_other_classes_stays_fresh():
    model = network(num_classes=7)
    before = model[3].weight.clone()

    assert sorted(load_weights(model, filled(2), "x")) == ["3.bias", "3.weight"]
    assert torch.equal(model[3].weight, before)
    assert (model[0].weight == 2).all()


def test_a_backbone_without_classifier():
    state = {key: value for key, value in filled(2).items() if not key.startswith("3.")}
    assert sorted(load_weights(network(), state, "x")) == ["3.bias", "3.weight"]


@pytest.mark.parametrize(("wanted", "value"), [(1, 6.0), (6, 1.0)])
def test_a_first_convolution_for_other_channels_than_colour(wanted, value):
    model = network(channels=wanted)
    load_weights(model, filled(2), "x")
    assert torch.allclose(model[0].weight, torch.tensor(value))


def test_a_first_convolution_for_other_channels_than_grey():
    with pytest.raises(InputError, match=r"'0.weight' is \(6, 1, 3, 3\), not \(6, 5, 3, 3\)"):
        load_weights(network(channels=5), filled(2, channels=1), "x")


def test_the_norms_step_counter_may_be_missing():
    state = filled(2)
    del state["1.num_batches_tracked"]
    assert load_weights(network(), state, "x") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("0.weight"),
        lambda state: state.update({"5.weight": torch.zeros(1)}),
        lambda state: state.update({"1.weight": torch.zeros(9)}),
    ],
)
def test_another_network_s_weights(change):
    state = filled(2)
    change(state)
    with pytest.raises(InputError, match="'x' is not for this network"):
        load_weights(network(), state, "'x'")


def test_files(tmp_path):
    state = filled(2)
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        found = read_weights(tmp_path / name)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[key], state[key]) for key in state)


class Trap:
    """What a pickle may run on loading."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was executed",))


def test_bad_files(tmp_path):
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap()))
    torch.save(network(), tmp_path / "module.pth")
    cases = {
        "none.pth": "no weights at",
        "empty.safetensors": "holds no weights",
        "text.pth": "holds",
        "list.pth": "no state_dict",
        "trap.pth": "holds",
        "module.pth": "more than tensors|holds no weights",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            read_weights(tmp_path / name)


TINY = {"name": "timm/resnet10t", "args": {"channels": [4, 4, 8, 8], "stem_width": 4}}
BRIEF = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 16, "final_test": False}


@pytest.mark.parametrize("method", ["sff", "backprop", "dgl"])
def test_from_one_run_into_the_next_and_into_timm(method, tmp_path):
    first = fit(method=method, model=TINY, out=tmp_path / "a", **BRIEF)
    state = read_weights(tmp_path / "a")

    plain = timm.create_model("resnet10t", num_classes=10, in_chans=1, **TINY["args"])
    plain.load_state_dict(state)  # every key, and no other

    def again(num_classes):
        given = {"model": TINY, "init_from": str(tmp_path / "a")}
        return build(method, image_shape=(1, 8, 8), num_classes=num_classes, **given)

    for key, value in again(10).backbone_state().items():
        assert torch.equal(value, first.network.backbone_state()[key])
    # Other classes: all but the classifier.
    other = again(3).backbone_state()
    assert torch.equal(other["conv1.0.weight"], state["conv1.0.weight"])
    assert other["fc.weight"].shape[0] == 3


def test_init_from_and_pretrained_exclude_each_other():
    given = {"model": TINY, "init_from": "x", "pretrained": True}
    with pytest.raises(InputError, match="init_from: give one of them"):
        build("sff", image_shape=(3, 32, 32), num_classes=10, **given)
