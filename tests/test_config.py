from __future__ import annotations

import json
from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

import pytest

from goodness import InputError, resolve
from goodness.config import KEYS, RESUMABLE, Config, changed, complete, merge
from goodness.keywords import ConfigValues
from goodness.methods import METHODS, Method
from goodness.methods.base import Locality


@pytest.fixture
def method(monkeypatch):
    """A method of our own, so that the tests do not depend on a recipe."""
    values = {
        **METHODS["asge"].values,
        "epochs": 7,
        "batch_size": 32,
        "seed": 5,
        "optimizer": {"name": "adamw", "lr": 0.5, "weight_decay": 0.25},
        "objective": {"name": "spatial-goodness", "alpha": 3.0},
        "augment": {"crop": 4, "flip": True},
    }
    for_data = {"mnist": {"batch_size": 64, "augment": {"crop": 2}, "objective": {"scale": 2.0}}}
    entry = Method("ours", "title", "equation", "use", "paper", Locality.LAYER, values, for_data)
    monkeypatch.setitem(METHODS._entries, "ours", entry)
    return "ours"


def test_values_given_beat_those_for_the_data_beat_the_method_s_beat_defaults(method):
    config = resolve({"method": method, "data": "mnist", "epochs": 9})

    assert config.epochs == 9  # given
    assert config.batch_size == 64  # for the data
    assert config.seed == 5  # the method's
    assert config.val_fraction == 0.1  # the default
    assert resolve({"method": method, "data": "mnist", "batch_size": 16}).batch_size == 16
    assert resolve({"method": method, "data": "digits"}).batch_size == 32
    # A folder's name is what counts.
    assert resolve({"method": method, "data": "/somewhere/mnist"}).batch_size == 64


def test_options_of_parts_are_merged_one_by_one(method):
    objective = resolve(
        {"method": method, "data": "mnist", "objective": {"unit_scale": True}}
    ).objective

    assert objective == {
        "name": "spatial-goodness",
        "alpha": 3.0,
        "reference": None,
        "scale": 2.0,
        "unit_scale": True,
        "temperature": None,
    }


def test_augmentation_for_the_data_replaces_and_the_given_one_is_merged(method):
    assert resolve({"method": method, "data": "mnist"}).augment.flip is False
    augment = resolve({"method": method, "data": "mnist", "augment": {"cutout": 3}}).augment

    assert (augment.crop, augment.cutout) == (2, 3)


def test_a_part_may_be_given_by_its_options_alone(method):
    assert resolve({"method": method, "optimizer": {"eps": 0.5}}).optimizer["lr"] == 0.5


def test_switching_a_part_keeps_the_options_that_the_new_choice_knows(method):
    optimizer = resolve({"method": method, "optimizer": "sgd"}).optimizer

    assert optimizer == {
        "name": "sgd",
        "lr": 0.5,
        "weight_decay": 0.25,
        "momentum": 0.9,
        "nesterov": False,
    }
    assert resolve({"method": method, "objective": "classifier"}).objective == {
        "name": "classifier",
        "pool": 1,
        "most": None,
        "loss": "ce",
        "bias": True,
        "init": "default",
        "own": False,
    }


def test_short_forms_of_optimizer_options(method):
    config = resolve({"method": method, "lr": 0.125, "weight_decay": 0.0})

    assert config.optimizer["lr"] == 0.125
    assert config.optimizer["weight_decay"] == 0.0
    sgd = resolve({"method": method, "optimizer": "sgd", "lr": 0.125}).optimizer
    assert (sgd["name"], sgd["lr"], sgd["weight_decay"]) == ("sgd", 0.125, 0.25)
    both = resolve({"method": method, "optimizer": {"lr": 0.75, "eps": 0.5}, "lr": 0.125})
    assert (both.optimizer["lr"], both.optimizer["eps"]) == (0.125, 0.5)


def test_what_is_given_is_left_as_it_was():
    given = {"lr": 0.5, "optimizer": {"rest": "sgd"}, "augment": {"crop": 1}}
    resolve(given)

    assert given == {"lr": 0.5, "optimizer": {"rest": "sgd"}, "augment": {"crop": 1}}


def test_names_may_be_numbers_as_yaml_reads_them():
    config = resolve({"freeze_until": 1, "class_names": [0, "one"]})
    assert (config.freeze_until, config.class_names) == ("1", ["0", "one"])


def test_none_means_not_given_where_it_is_no_value(method):
    assert resolve({"method": method, "epochs": None, "model": None}).epochs == 7


def test_none_rules_where_it_is_a_value_and_after_a_round_trip():
    config = resolve({"method": "asge", "data": "mnist", "image_size": None})

    assert resolve({"method": "asge"}).image_size == 32
    assert config.image_size is None
    assert resolve(config.model_dump()) == config


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epoch": 3}, ["epoch", "did you mean 'epochs'"]),
        ({"learning_rate": 3}, ["unknown configuration key 'learning_rate'"]),
        ({"wieght_decay": 3}, ["did you mean 'weight_decay'"]),
        ({"method": "asge-fats"}, ["unknown method", "did you mean 'asge-fast'"]),
        ({"model": "vgg9"}, ["unknown model", "did you mean 'vgg"]),
        ({"optimizer": "adamww"}, ["did you mean 'adamw'"]),
        ({"objective": {"alfa": 1.0}}, ["did you mean 'objective.alpha'"]),
        ({"boundary": {"droput": 0.1}}, ["did you mean 'boundary.dropout'"]),
        ({"augment": {"crops": 1}}, ["did you mean 'augment.crop'"]),
        ({"readout": "fusoin"}, ["did you mean 'fusion'"]),
        ({"readouts": {"fusoin": {}}}, ["unknown readout", "did you mean 'fusion'"]),
        ({"readouts": {"fusion": {"skp": 1}}}, ["did you mean 'readout.skip'"]),
        ({"epochs": 0}, ["epochs", "got 0"]),
        ({"epochs": "many"}, ["epochs", "got 'many'"]),
        ({"batch_size": 1.5}, ["batch_size", "got 1.5"]),
        ({"val_fraction": 1.0}, ["val_fraction", "less than 1"]),
        ({"seed": -1}, ["seed", "got -1"]),
        ({"lr": 0}, ["optimizer.lr", "greater than 0"]),
        ({"lr": float("nan")}, ["optimizer.lr"]),
        ({"lr": "fast"}, ["optimizer.lr", "got 'fast'"]),
        ({"boundary": {"name": "rms", "dropout": 1.0}}, ["boundary.dropout", "less than 1"]),
        ({"model": {"widths": [8, -1]}}, ["model.widths", "greater than or equal to 1"]),
        ({"augment": {"grayscale": 2}}, ["augment.grayscale"]),
        ({"augment": {"crop": -1}}, ["augment.crop", "got -1"]),
        ({"model": 5}, ["model", "got 5"]),
        ({"model": {"name": {"x": 1}}}, ["model.name", "got {'x': 1}"]),
        ({"model": {"name": None}}, ["model.name", "got None"]),
        ({"readouts": {"fusion": "probe"}}, ["readouts.fusion", "write readouts.probe"]),
        ({"freeze_until": 1.5}, ["freeze_until", "got 1.5"]),
        ({"data": {"x": 1}}, ["data", "got {'x': 1}"]),
        ({"optimizer": [1]}, ["optimizer", "got [1]"]),
        ({"lr_schedule": {"every": "week"}}, ["lr_schedule.every", "'step' or 'epoch'"]),
        ({"lr": float("inf")}, ["optimizer.lr"]),
        ({"objective": {"scale": float("inf")}}, ["objective.scale"]),
        ({"readouts": {"fusion": {"lr": 0}}}, ["readout.lr"]),
        ({"optimizer": {"betas": [1.5, 0.9]}}, ["optimizer.betas"]),
        ({"optimizer": 5, "lr": 0.1}, ["a mapping is needed"]),
        ({"optimizer": 5}, ["a mapping is needed"]),
        ({"augment": 5}, ["a mapping is needed"]),
        ({"augment": "crop"}, ["a mapping is needed"]),
        ({"readouts": "last"}, ["a mapping is needed"]),
        ({"readouts": ["last"]}, ["a mapping is needed"]),
        ({"readouts": dict.fromkeys(("last", "sum", "fusion"))}, ["one has to answer"]),
        ({"readouts": {"fusion": None}, "readout": "fusion"}, ["unknown readout"]),
    ],
    ids=repr,
)
def test_bad_input_is_refused_with_the_place_and_the_nearest_name(given, words):
    with pytest.raises(InputError) as caught:
        resolve({"method": "asge-fast", **given})

    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_readout_of_the_method_can_be_left_out():
    left = {"method": "asge-fast", "readouts": {"fusion": None}}
    config = resolve(left)

    assert set(config.readouts) == {"last", "sum"}
    assert resolve(merge(left, {"readouts": {"fusion": {"skip": 0}}})).readouts["fusion"]
    # A model's own classifier, which would learn as one, as well.
    own = {"method": "sff", "model": "timm/resnet18"}
    assert "head" in resolve(own).readouts
    assert "head" not in resolve({**own, "readouts": {"head": None}}).readouts


@pytest.mark.parametrize("data", ["digits", "cifar10"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("method", METHODS.names())
def test_a_configuration_survives_json(method, optimizer, data):
    config = resolve({"method": method, "data": data, "optimizer": optimizer, "num_threads": 2})

    text = json.dumps(config.model_dump(mode="json"))

    assert resolve(json.loads(text)) == config
    assert resolve(config.model_dump()) == config
    assert Config.model_validate(config.model_dump()) == config


def test_a_configuration_cannot_be_changed():
    config = resolve({})
    with pytest.raises(ValueError, match="frozen"):
        config.epochs = 3


def test_another_model_has_its_own_shape():
    config = resolve({"method": "cwc", "model": "vgg8"})

    assert config.model["widths"] == [128, 256, 256, 512, 512, 512, 512]
    assert config.model["pools"] == [2, 4, 5, 6]
    # What its layers are made of comes with the method.
    assert resolve({"method": "asge-fast", "model": "vgg8"}).model["norm"] == "batch"


@pytest.mark.parametrize("name", KEYS)
def test_every_key_is_described(name):
    key = KEYS[name]
    assert key.text.endswith((".", "…"))
    assert key.kinds
    assert not key.part or key.part in KEYS


def test_the_keywords_of_fit_are_the_keys():
    hints = get_type_hints(ConfigValues)
    assert hints.keys() == KEYS.keys() - {"method", "data"}
    for name, hint in hints.items():
        kinds = get_args(hint) or (hint,)
        words = [word for kind in kinds for word in get_args(kind) if isinstance(word, str)]
        assert (NoneType in kinds) == (NoneType in KEYS[name].kinds), name
        own = [kind for kind in KEYS[name].kinds if isinstance(kind, str)]
        assert (words or [kind for kind in kinds if isinstance(kind, str)]) == own, name
        for simple in (bool, int, float, str):
            assert simple not in KEYS[name].kinds or simple in kinds, name


def test_later_layers_rule_option_by_option():
    layers = (
        {"model": "vgg8", "optimizer": {"name": "sgd", "nesterov": True}, "imports": []},
        {"model": {"norm": "batch"}, "lr": 0.5, "readouts": {"sum": {"skip": 1}}},
        {"optimizer": "adamw", "partition": 3, "readouts": {"sum": {"of": "scores"}, "last": {}}},
    )
    assert merge({"boundary": "rms"}) == {"boundary": {"name": "rms"}}
    assert merge(*layers) == {
        "model": {"name": "vgg8", "norm": "batch"},
        "optimizer": {"name": "adamw", "lr": 0.5},
        "imports": [],
        "partition": {"name": "count", "blocks": 3},
        "readouts": {"sum": {"skip": 1, "of": "scores"}, "last": {}},
    }


def test_relative_paths_become_absolute_and_names_stay(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "mnist").mkdir()
    (tmp_path / "root" / "stored").mkdir(parents=True)
    (tmp_path / "root" / "stored" / "train-0.parquet").touch()
    (tmp_path / "stored").mkdir()
    (tmp_path / "parts.py").touch()
    given = {"data_root": "root", "init_from": "a.pth", "feature_cache": Path("cache")}

    config = resolve({**given, "data": "photos", "imports": "parts.py"})

    assert config.data == f"{tmp_path}/photos"
    assert config.data_root == f"{tmp_path}/root"
    assert config.init_from == f"{tmp_path}/a.pth"
    assert config.feature_cache == f"{tmp_path}/cache"
    assert config.imports == [f"{tmp_path}/parts.py"]
    for name in ("mnist", "stored", "nowhere"):
        assert resolve({"data": name, "data_root": "root"}).data == name
    assert resolve({"data": "./mnist"}).data == f"{tmp_path}/mnist"
    monkeypatch.chdir(tmp_path / "mnist")
    assert resolve({"method": method, "data": "."}).batch_size == 64
    assert changed(config, {"feature_cache": "more"}).feature_cache == f"{tmp_path}/mnist/more"


def test_a_kept_configuration_takes_defaults_where_it_has_gaps(method):
    kept = resolve({"method": method}).model_dump()
    for key in ("epochs", "augment"):
        del kept[key]
    del kept["optimizer"]["lr"]
    kept["readouts"] = {"last": {}}

    config = complete(kept)

    assert (config.epochs, config.augment.crop, config.optimizer["lr"]) == (20, 0, 1e-3)
    assert config.readouts == {"last": {"blocks": 1}}
    assert config.batch_size == 32


def test_a_resumed_run_keeps_all_but_what_is_asked_for(method):
    config = resolve({"method": method, "readouts": {"probe": {}}})
    other = changed(config, {"epochs": 9, "device": None})
    assert other == config.model_copy(update={"epochs": 9})
    assert (
        *("epochs", "early_stopping", "checkpoint", "log"),
        *("device", "num_workers", "num_threads", "parallel", "max_pixels"),
        "feature_cache",
    ) == RESUMABLE
