"""The tree of the classes that objectives want of the training images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import goodness
from goodness.training.classes import class_means

SMALL = {"model": {"widths": [10, 20], "pools": [1]}, "epochs": 1, "steps_per_epoch": 2}


def test_class_means_are_those_of_the_principal_components(digits):
    train = digits.train
    found = class_means(train, 10)

    pixels, labels = next(train.batches(len(train), "cpu"))
    x = pixels.flatten(1).double().numpy()
    spread = x.std(0, ddof=1)
    x = (x - x.mean(0)) / np.maximum(spread, 1e-6)
    _, _, directions = np.linalg.svd(x - x.mean(0), full_matrices=False)
    components = (x - x.mean(0)) @ directions[:50].T
    expected = np.stack([components[labels.numpy() == k].mean(0) for k in range(10)])
    # Directions have no sign; distances between classes do not need one.
    distances = [
        torch.cdist(rows.double(), rows.double()) for rows in (found, torch.tensor(expected))
    ]
    torch.testing.assert_close(*distances, rtol=1e-2, atol=1e-2)


def test_training_puts_the_tree_of_the_images_in_its_place(digits, tmp_path):
    run = goodness.fit("digits", method="hcl-ff", out=tmp_path / "run", **SMALL)

    tree = goodness.class_tree(class_means(digits.train, 10))
    assert run.config.objective["tree"] == tree
    assert json.loads((tmp_path / "run/config.json").read_text())["objective"]["tree"] == tree
    assert len(run.network[0].objective.cluster_of.unique()) == 2
    again = goodness.resume(tmp_path / "run", epochs=2)
    assert again.config.objective["tree"] == tree


def test_the_tree_is_that_of_the_chosen_classes(tmp_path):
    values = {"class_names": ["1", "7", "0"], "out": tmp_path / "run", **SMALL}
    run = goodness.fit("digits", method="hcl-ff", **values)
    assert len(run.config.objective["tree"]) == 2


@pytest.mark.parametrize("tree", [None, [[0, 1], [2, 3]]])
def test_any_other_tree_stays(digits, tmp_path, tree):
    values = {"objective": {"tree": tree}, "class_names": ["1", "7", "0"], **SMALL}
    run = goodness.fit("digits", method="hcl-ff", out=tmp_path / "run", **values)
    assert run.config.objective["tree"] == tree


def test_without_images_every_class_is_alone():
    network = goodness.build("hcl-ff", image_shape=(1, 8, 8), num_classes=10, **SMALL)
    assert not any(block.objective.merges_scores for block in network)
