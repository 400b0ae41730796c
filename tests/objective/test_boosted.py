"""Boosted exits against their formula, and the training on survivors."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import Y, agree, block, context, cross_entropy, draw, make

import goodness
from goodness.exits.thresholds import precision_thresholds
from helpers import learner_of, random_batch, tiny_network

FULL = torch.randn(len(Y), 3, generator=torch.Generator().manual_seed(5)).double()
OPTIONS = {"widths": [5], "grid": 4, "distill": 0.3, "temperature": 3.0}


def softmax(row):
    powers = [math.exp(float(value)) for value in row]
    return [power / sum(powers) for power in powers]


def test_the_loss_of_a_block_that_learns_is_cross_entropy():
    objective = make("boosted", block(index=1), **OPTIONS).eval()
    h = draw()
    losses = objective.loss(h, objective.scores(h), Y, context(h, later_scores=[None, None, FULL]))
    expected = [cross_entropy(*row) for row in zip(objective.scores(h), Y.tolist(), strict=True)]
    torch.testing.assert_close(losses, torch.stack(expected))
    assert not objective._seen


def test_an_exit_learns_from_survivors_and_from_the_last_block():
    objective = make("boosted", block(index=1), **OPTIONS).eval()
    h = draw()
    given = context(h, later_scores=[None, None, FULL])
    gone = torch.arange(len(Y)) % 2 == 0
    given.left, given.frozen = [gone, ~gone, None], True  # what leaves at itself still teaches it
    scores = objective.scores(h).detach()
    losses = objective.loss(h, scores, Y, given)
    for n, loss in enumerate(losses):
        if gone[n]:
            assert loss == 0
            continue
        student, teacher = softmax(scores[n] / 3), softmax(FULL[n] / 3)
        divergence = sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))
        expected = 0.7 * cross_entropy(scores[n], int(Y[n])) + 0.3 * 9 * divergence
        share = float((~gone).double().mean())
        assert float(loss) == pytest.approx(float(expected) / share)


def test_thresholds_are_of_those_who_have_reached_the_exit():
    objective = make("boosted", block(index=1), **OPTIONS, margin=0.2, support=2)
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(4):
        h = draw()
        given = context(h, later_scores=[None, None, FULL])
        given.left = [torch.rand(len(Y), generator=generator) < 0.3, None, None]
        given.frozen = True
        scores = objective.scores(h).detach()
        objective.loss(h, scores, Y, given)
        objective.observe(h, Y)
        rows.append((scores[~given.left[0]], Y[~given.left[0]]))
    assert (objective.thresholds > 1).all()
    objective.end_epoch()
    scores, y = (torch.cat(own) for own in zip(*rows, strict=True))
    sure, answers = scores.softmax(1).max(1)
    whole = FULL.argmax(1)
    groups, targets = torch.arange(3), torch.zeros(3).double()
    for c in range(3):
        named = [n for n in range(len(Y)) if whole[n] == c]
        hits = sum(int(Y[n] == c) for n in named)
        targets[c] = (hits / len(named) if named else math.nan) - 0.2
    expected = precision_thresholds(sure, answers, answers == y, targets, groups, 2)
    torch.testing.assert_close(objective.thresholds.double(), expected.clamp(max=2.0))
    assert not objective.pending
    assert not objective._seen


def test_heads_learn_one_by_one_and_the_later_ones_see_fewer_images():
    network = tiny_network("bts-ee", model={"name": "small-cnn", "widths": [8, 8, 8]})
    learner = learner_of(network, (2, 10))  # 12 steps for the blocks, 4 for each head
    images, y = random_batch(32)
    network[0].objective.support = 4
    kept = []
    for step in range(20):
        before = {n: p.clone() for n, p in network.named_parameters()}
        learner.step(images, y)
        changed = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
        kept.append({int(name.split(".")[1]) for name in changed})
        if step >= 12:
            assert all(".objective." in name for name in changed)
    assert kept[0] == {0, 1, 2}
    assert kept[12:16] == [{0}] * 4
    # All that the first exit now answers is not taught to the second.
    left = network[0].objective.leaves(network.evaluate(images).blocks[0])
    everything = bool(left.all())
    assert left.any()
    assert everything or kept[16:] == [{1}] * 4


def test_parts_of_a_batch_are_refused():
    with pytest.raises(goodness.InputError, match="micro_batch"):
        learner_of(tiny_network("bts-ee", micro_batch=2, model={"name": "small-cnn"}))


def test_the_last_block_is_not_an_exit():
    objective = make("boosted", block(index=2), **OPTIONS)
    assert objective.leaves(FULL) is None
    assert not objective.needs_later_scores
    h = draw()
    agree(
        objective.eval(),
        h,
        Y,
        lambda z: [
            cross_entropy(*row) for row in zip(objective.scores(z), Y.tolist(), strict=True)
        ],
    )
