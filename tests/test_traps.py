"""Known traps of the field's repositories, each sprung on purpose."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from goodness import InputError, build, resolve
from goodness.api import fit
from goodness.data import open_data
from goodness.methods import METHODS
from goodness.presentation import Labelled
from goodness.training.trainer import Trainer
from helpers import copied, learner_of, random_batch, same, tiny_network

MODEL = {"name": "small-cnn", "widths": [8, 12], "pools": [1]}
LABELLED = [name for name in METHODS if tiny_network(name).presentation.queries > 1]


def loop(method="asge-fast", **values):
    config = resolve({"method": method, "model": MODEL, "epochs": 1, **values})
    data = open_data("digits", val_fraction=config.val_fraction)
    return Trainer(data, build(config, image_shape=(1, 8, 8), num_classes=10))


def accuracies(counts):
    """All that was counted, without the time."""
    return replace(counts.result(counts.best_readout()), seconds=0.0)


@pytest.mark.parametrize("method", LABELLED)
@pytest.mark.parametrize("num_classes", [2, 5])
def test_a_negative_never_equals_its_positive(method, num_classes):
    network = tiny_network(method, num_classes=num_classes)
    assert isinstance(network.presentation, Labelled)
    images = torch.rand(200, 1, 8, 8)
    positive, negative = network.training_rows(images, torch.arange(200) % num_classes).chunk(2)

    assert not (positive == negative).flatten(1).all(1).any()


def test_validation_does_not_inherit_the_training_augmentation():
    """Augmentation that destroys every image leaves validation as it was."""
    plain, torn = loop(), loop(augment={"crop": 0, "flip": True, "cutout": 8})
    images, _ = next(torn.dataset.val.batches(64, "cpu"))

    assert not torch.equal(torn.prepare(images), plain.prepare(images))
    for one in (plain, torn):
        one.network.load_state_dict(plain.network.state_dict())
    assert accuracies(plain.evaluate("val")) == accuracies(torn.evaluate("val"))


@pytest.mark.parametrize("method", METHODS.names())
def test_the_number_of_classes_is_not_fixed_at_ten(method):
    network = tiny_network(method, num_classes=7)
    answer = network.evaluate(torch.rand(2, 1, 8, 8))

    assert all(answer.final(name).shape == (2, 7) for name in answer.readouts)


def test_nothing_is_chosen_on_the_test_set():
    """With all test labels wrong, weights, epoch and readout come out the same."""
    kept, tested = [], []
    for wrong in (False, True):
        one = loop(epochs=3)
        if wrong:
            one.dataset.test.labels.copy_((one.dataset.test.labels + 1) % 10)
        result = one.fit()
        chosen = (result.train.best_epoch, result.val.readouts, result.val.readout)
        kept.append((chosen, one.network.state_dict()))
        tested.append(result.test.accuracy)

    assert tested[0] != tested[1]
    assert kept[0][0] == kept[1][0]
    assert same(kept[0][1], kept[1][1])


@pytest.mark.parametrize("method", METHODS.names())
def test_asking_never_moves_a_running_statistic(method):
    network = tiny_network(method, model={**MODEL, "norm": "batch"})
    images, y = random_batch(8)
    learner_of(network, (4, 2)).step(images, y)
    before = copied(dict(network.named_buffers()))

    network.evaluate(images)

    assert any("running" in name for name in before)
    assert same(dict(network.named_buffers()), before)


def test_a_readout_is_not_shown_the_true_label():
    """Noise has nothing to learn: a readout that beats chance on it has read the label."""
    generator = torch.Generator().manual_seed(0)
    readouts = {"fusion": {"skip": 0, "pool": 8, "lr": 1e-2}}
    network = tiny_network("ff-cnn", readouts=readouts, model=MODEL)
    learner = learner_of(network, (60, 1))

    def noise(count):
        y = torch.randint(4, (count,), generator=generator)
        return torch.rand((count, 1, 8, 8), generator=generator), y

    for _ in range(60):
        learner.step(*noise(64))
    network.train()
    images, y = noise(400)
    fusion = network.readouts["fusion"]
    taken, _ = network.extract(network.neutral_rows(images), {"fusion": fusion}, range(2))
    accuracy = (fusion(taken["fusion"])[-1].argmax(1) == y).float().mean()

    assert accuracy < 0.35  # by chance: 0.25


def test_a_batch_that_does_not_fit_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="batch size"):
        fit("digits", model=MODEL, batch_size=10_000, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
