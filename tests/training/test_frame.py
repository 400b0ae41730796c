"""Whitened patches and alternating flips in a run: who sees which images, stopped and resumed."""

from __future__ import annotations

import pytest
import torch

from goodness.training import trainer as trainer_module
from goodness.training.sampling import epoch_order
from helpers import TINY, At, interrupt, same, saved_weights

MODEL = {**TINY, "norm": "batch", "whiten": 2, "order": "conv-pool-norm-act", "activation": "gelu"}
VALUES = {"epochs": 2, "batch_size": 256, "model": MODEL, "augment": {"flip": "alternate"}}


def filters(network):
    return network.get_buffer("blocks.0.body.whiten.weight")


def test_a_run_whitens_training_images_without_augmentation(trainer_of, digits, monkeypatch):
    monkeypatch.setattr(trainer_module, "WHITENED_IMAGES", 300)
    made = trainer_of(digits, **{**VALUES, "augment": {"crop": 3, "cutout": 4}})
    seen = torch.cat(list(made._some_images()))
    everything = made.dataset.preprocessing.apply(next(made.dataset.train.batches(2000, "cpu"))[0])
    made.network.initialize([seen])
    expected = filters(made.network).clone()

    again = trainer_of(digits, **{**VALUES, "augment": {"crop": 3, "cutout": 4}})
    again.fit()

    assert len(seen) == 300
    assert (seen[:, None] == everything[None]).flatten(2).all(2).any(1).all()
    assert torch.equal(filters(again.network), expected)


@pytest.mark.parametrize("method", ["sff", "backprop"])
@pytest.mark.parametrize("moment", [{"step": 3}, {"epoch": 1}])
def test_an_interrupted_run_goes_on_bit_for_bit(trainer_of, digits, method, moment):
    values = {**VALUES, "method": method, "ema": 0.9}
    whole = trainer_of(digits, "whole", **values)
    whole.fit()
    with pytest.raises(trainer_module.Interrupted):
        trainer_of(digits, "run", [At(interrupt, **moment)], **values).fit()

    resumed = trainer_of(digits, "run", **values)
    resumed.restore()
    resumed.fit()

    assert same(saved_weights(resumed.run.path), saved_weights(whole.run.path))
    assert same(saved_weights(resumed.run.path, "best"), saved_weights(whole.run.path, "best"))
    assert resumed.best == whole.best


def test_features_of_finished_blocks_are_those_behind_the_filters(trainer_of, digits, tmp_path):
    values = {**VALUES, "method": "sff", "plan": "sequential", "augment": {"crop": 0}}
    states = []
    for more in ({}, {"feature_cache": str(tmp_path / "features")}):
        made = trainer_of(digits, **values, **more)
        made.fit()
        states.append(made.network.state_dict())

    assert same(*states)


@pytest.mark.parametrize("steps", [None, 2, 8])
def test_flips_alternate_with_the_passes_over_the_images(trainer_of, digits, steps):
    """Whatever an epoch is: an image is mirrored in every other pass that shows it."""
    augment = {"flip": "alternate", "crop": 0}
    values = {**VALUES, "epochs": 6, "steps_per_epoch": steps, "augment": augment}
    made = trainer_of(digits, **values)
    train, length = made.dataset.train, made.steps_per_epoch
    plain = made.dataset.preprocessing.apply(next(train.batches(len(train), "cpu"))[0])
    passes = torch.full((len(train), 12), -1)  # per image and pass: 1 where it is mirrored
    for epoch in range(6):
        order = epoch_order(len(train), 256, length, epoch, seed=0)
        batches = made._batches(0, order, 0)
        for inside, rows in enumerate(order.split(256)):
            made.learner.steps = epoch * length + inside
            x, _ = next(batches)
            plainly, mirrored = (
                (x == image).flatten(1).all(1) for image in (plain[rows], plain[rows].flip(3))
            )
            assert (plainly | mirrored).all()
            passes[rows, made.step // (len(train) // 256)] = torch.where(
                plainly & mirrored, -1, mirrored.long()
            )

    ways = passes ^ (torch.arange(12) % 2)  # as in an even pass; negative where it was not shown
    plainly, mirrored = (ways == 0).any(1), (ways == 1).any(1)
    assert (plainly | mirrored).sum() > 1200
    assert not (plainly & mirrored).any()
    assert 550 < mirrored.sum() < 750
    assert (passes >= 0).sum(1).max() == {None: 6, 2: 3, 8: 10}[steps]
