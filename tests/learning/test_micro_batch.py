"""A batch in parts learns what the whole batch does, in less memory."""

from __future__ import annotations

import pytest
import torch

from goodness import InputError, build
from goodness.objective import Objective
from goodness.profiling.memory import LiveBytes
from helpers import copied, learner_of

IMAGE = (1, 8, 8)
CLASSES = 4
SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}
MODEL = {"name": "cnn", "widths": [4, 6, 8], "pools": [1], "norm": "none"}


def make(method="mono-forward", **values):
    plain = {"lr_schedule": "constant", "optimizer": SGD, "boundary": "identity", "epochs": 2}
    values = {**plain, "model": MODEL, **values}
    return build(method, image_shape=IMAGE, num_classes=CLASSES, **values)


def trained(network, batch, count=10, steps=3, class_weights=None):
    """The state after some steps, and the reports of those steps."""
    learner = learner_of(network, (2, 2), class_weights=class_weights)
    batches = (batch(count, IMAGE, CLASSES, seed=step) for step in range(steps))
    reports = [learner.step(*own) for own in batches]
    learner.end_epoch()
    return copied(network.state_dict()), reports


def close(one, other, atol=1e-5):
    return one.keys() == other.keys() and all(
        torch.allclose(one[name], other[name], atol=atol) for name in one
    )


WEIGHTS = torch.tensor([0.2, 1.0, 3.0, 0.5])
PAIRS = {"name": "pair-goodness", "goodness": "mean", "loss": "bce", "peer": 0.0}


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("mono-forward", {}),
        ("backprop", {}),
        ("sff", {"model": {**MODEL, "norm": "layer"}}),
        ("mono-forward", {"label_smoothing": 0.2, "clip_grad_norm": 0.05, "accumulate_steps": 2}),
        ("mono-forward", {"amp": "fp16"}),
        ("mono-forward", {"readouts": {"fusion": {"lr": 0.1}}}),
        ("mono-forward", {"ema": 0.9, "plan": "sequential"}),
        ("cafo", {"plan": "together"}),
        ("cafo-dfa", {"plan": "together"}),
        ("ff", {"objective": PAIRS}),
    ],
    ids=str,
)
def test_parts_learn_what_the_whole_batch_does(method, values, batch):
    """Ten images in parts of four: the last part is smaller."""
    weights = None if method == "ff" else WEIGHTS
    whole, reports = trained(make(method, **values), batch, class_weights=weights)
    parts, others = trained(make(method, micro_batch=4, **values), batch, class_weights=weights)

    # Half precision rounds, and overflows, in other sums.
    assert close(whole, parts, atol=2e-3 if "amp" in values else 1e-5)
    start = make(method, **values).state_dict()
    assert not close(whole, start, atol=1e-2 if "amp" in values else 1e-3)
    for one, other in zip(reports, others, strict=True):
        for mine, theirs in ((one.losses, other.losses), (one.scores, other.scores)):
            assert [a is None for a in mine] == [b is None for b in theirs]
            pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if a is not None]
            assert all(a.shape == b.shape for a, b in pairs)
            assert all(
                torch.allclose(a, b, atol=2e-2 if "amp" in values else 1e-4) for a, b in pairs
            )


def test_a_batch_that_fits_into_one_part_is_learnt_bit_for_bit(batch):
    boundary = {"name": "rms", "dropout": 0.3}
    whole = trained(make(boundary=boundary), batch)[0]
    one_part = trained(make(boundary=boundary, micro_batch=10), batch)[0]
    assert all(torch.equal(one_part[name], value) for name, value in whole.items())


def test_dropout_of_every_part_is_drawn_by_the_seed(batch):
    """Of equal images in several parts each gets another mask, and the same in every run."""
    boundary = {"name": "identity", "dropout": 0.5}
    x, y = torch.rand(1, *IMAGE).expand(4, -1, -1, -1), torch.zeros(4, dtype=torch.long)
    masks = []
    for _ in range(2):
        network = make(boundary=boundary, micro_batch=1)
        torch.nn.init.ones_(network[0].body[0].bias)
        seen = []
        network[1].body.register_forward_pre_hook(lambda m, given, seen=seen: seen.append(given[0]))
        torch.rand(3)  # whatever was drawn before
        learner_of(network, (2, 2)).step(x, y)
        masks.append([rows == 0 for rows in seen])

    assert len(masks[0]) == 4
    assert all(torch.equal(a, b) for a, b in zip(*masks, strict=True))
    assert all(not torch.equal(masks[0][0], mask) for mask in masks[0][1:])


def test_objectives_observe_once_a_step(batch, monkeypatch):
    seen = []
    network = make(micro_batch=4)
    monkeypatch.setattr(
        type(network[0].objective), "observe", lambda self, h, y: seen.append((len(h), len(y)))
    )
    trained(network, batch, steps=1)

    assert type(network[0].objective).observe is not Objective.observe
    assert seen == [(10, 10)] * 3


def test_a_step_in_parts_takes_less_memory(batch):
    peaks = {}
    model = {"name": "cnn", "widths": [16] * 6, "pools": [6], "norm": "layer"}
    for size in (None, 16):
        network = make(model=model, partition={"name": "count", "blocks": 1}, micro_batch=size)
        learner = learner_of(network, (2, 2))
        x, y = batch(128, IMAGE, CLASSES)
        learner.step(x, y)
        with LiveBytes() as tracker:
            learner.step(x, y)
        peaks[size] = tracker.peak

    assert peaks[16] < peaks[None] / 4


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        ("predsim", {}, "micro_batch: objective 'similarity' compares the images"),
        ("sff", {"model": {**MODEL, "norm": "batch"}}, "batch norm in the model of block 'conv1'"),
        ("dgl", {}, "batch norm in the objective of block 'conv1'.*use another objective"),
        ("scff", {"model": {**MODEL, "pools": []}}, "presentation 'image-pairs' pairs the images"),
        ("trifecta", {"objective": PAIRS}, "presentation 'label-channel' learns from a whole"),
        ("forward-gradient", {}, "update 'forward-gradient' draws other directions"),
    ],
)
def test_what_needs_the_whole_batch_is_refused(method, values, message):
    with pytest.raises(InputError, match=message):
        learner_of(make(method, micro_batch=4, **values))


def test_a_batch_norm_in_a_frozen_block_does_not_mind(batch):
    model = {**MODEL, "norm": "batch"}
    frozen = {"freeze_until": "head", "readouts": {"output": {}}, "model": model}
    whole = trained(make("sff", **frozen), batch)[0]
    parts = trained(make("sff", micro_batch=4, **frozen), batch)[0]

    assert close(whole, parts)
    with pytest.raises(InputError, match="batch norm in the model of block 'conv3'"):
        learner_of(make("sff", micro_batch=4, freeze_until="2", model=model))


def test_ghost_norms_are_those_of_steps_that_accumulate(batch):
    """Of one block, parts of a batch and steps that accumulate are the same thing."""
    model = {**MODEL, "norm": "batch"}
    ghost = make("backprop", model=model, micro_batch=5, ghost_norm=True, readouts={})
    steps = make("backprop", model=model, accumulate_steps=2, readouts={})
    x, y = batch(10, IMAGE, CLASSES)
    learner_of(ghost, (2, 2)).step(x, y)
    accumulating = learner_of(steps, (2, 2))
    for part in range(2):
        accumulating.step(x[5 * part : 5 * part + 5], y[5 * part : 5 * part + 5])

    assert close(ghost.state_dict(), steps.state_dict())


def test_ghost_norms_without_parts_are_refused():
    with pytest.raises(InputError, match="ghost_norm: is for parts of a batch"):
        learner_of(make("sff", ghost_norm=True))
