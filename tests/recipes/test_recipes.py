"""Recipes resolve to whole trainings, and what the user gives rules over them."""

from __future__ import annotations

import pytest
import torch

import goodness
from goodness.data.catalogue import CATALOGUE
from goodness.errors import InputError
from goodness.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES.names())
def test_a_recipe_is_a_training_of_its_data_to_the_end(name):
    recipe = RECIPES[name]
    config = goodness.resolve({"recipe": name})

    assert config.recipe == name
    assert config.data in CATALOGUE
    assert name.startswith(config.data)
    assert name.endswith(("-fast", "-best"))
    assert recipe.command == f"goodness train --recipe {name}"
    if recipe.accuracy is None:
        assert recipe.seeds == 0
    else:
        assert recipe.seeds
        assert recipe.minutes


@pytest.mark.parametrize("name", RECIPES.names())
def test_a_recipe_learns_at_tiny_scale(name):
    config = goodness.resolve({"recipe": name})
    grey = config.data in ("mnist", "fashion_mnist")
    side = config.image_size or (28 if grey else 32)
    shape = (1 if grey else 3, side, side)
    widths = [8 for _ in config.model["widths"]]
    network = goodness.build(
        config.method,
        recipe=name,
        image_shape=shape,
        num_classes=10,
        model={"widths": widths},
        objective={"widths": [8]},
        compile=False,
        epochs=1,
        steps_per_epoch=2,
    )
    learner = goodness.Learner(network)

    for seed in range(2):
        torch.manual_seed(seed)
        learner.step(torch.randn(4, *shape), torch.arange(4))

    assert network.predict(torch.randn(3, *shape)).shape == (3,)


def test_given_values_and_another_method_rule_over_a_recipe():
    config = goodness.resolve({"recipe": "cifar10-fast", "method": "backprop", "epochs": 3})

    assert config.method == "backprop"
    assert config.epochs == 3
    assert config.plan["name"] == "end-to-end"


@pytest.mark.parametrize("name", RECIPES.names())
@pytest.mark.parametrize("method", ["backprop", "sff"])
def test_another_method_has_the_same_frame(name, method):
    own, other = (goodness.resolve({"recipe": name, **more}) for more in ({}, {"method": method}))

    for key in ("model", "optimizer", "lr_schedule", "label_smoothing", "batch_size", "augment"):
        assert getattr(own, key) == getattr(other, key)
    assert other.objective["name"] != own.objective["name"]


def test_the_nearest_recipe_is_named():
    with pytest.raises(InputError, match="cifar10-fast"):
        goodness.resolve({"recipe": "cifar-fast"})


@pytest.mark.parametrize("train", [goodness.fit, goodness.dry_run])
@pytest.mark.parametrize(
    ("given", "opened"),
    [({}, "cifar10"), ({"data": "mnist"}, "mnist"), ({"method": "sff"}, "cifar10")],
)
def test_a_training_takes_the_recipe_s_data_unless_told_otherwise(
    train, given, opened, tmp_path, monkeypatch
):
    def told(name, *_):
        raise InputError(f"opened {name}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("goodness.training.preparing.open_data", told)

    with pytest.raises(InputError, match=f"opened {opened}$"):
        train(recipe="cifar10-fast", **given)


def test_a_run_keeps_the_recipe_s_name(tmp_path):
    run = goodness.fit(
        "digits",
        recipe="mnist-fast",
        out=tmp_path / "run",
        model={"widths": [8, 8, 8], "pools": []},
        epochs=1,
        steps_per_epoch=2,
        batch_size=32,
    )

    assert run.config.recipe == "mnist-fast"
    assert goodness.load(run.folder).config.recipe == "mnist-fast"
