"""Answers image by image are those that evaluation counts."""

from __future__ import annotations

import pytest
import torch

from goodness.analysis.survey import survey
from goodness.data import Preprocessing, Split
from goodness.training.evaluation import evaluate
from helpers import tiny_network

CLASSES = ["a", "b", "c", "d"]
FORM = Preprocessing(channels=1, height=8, width=8, mean=[0.5], std=[0.3], classes=CLASSES)


def images(count=21):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Split(pixels, torch.randint(0, 4, (count,), generator=generator), [])


@pytest.mark.parametrize("method", ["asge-fast", "ff", "scff", "backprop"])
def test_counted_they_are_the_evaluation(method):
    network, split = tiny_network(method), images()
    found = survey(network, split, FORM, batch_size=8)
    counts = evaluate(network, split, FORM, batch_size=21)
    result = counts.result(network.readout)
    assert torch.equal(found.y, split.labels)
    assert found.accuracy(found.final) == pytest.approx(result.accuracy)
    assert [found.accuracy(own) for own in found.blocks] == pytest.approx(result.per_block)
    assert torch.equal(found.confusion(4), counts.confusion[network.readout])


def test_probabilities_are_those_of_the_scores_at_the_temperature():
    network, split = tiny_network(), images()
    found = survey(network, split, FORM, batch_size=8, temperature=0.2)
    pixels, y = next(split.batches(21, "cpu"))
    scores = network.scores(FORM.apply(pixels))
    expected = (scores / 0.2).softmax(1)
    assert torch.allclose(found.final.confidence, expected.amax(1))
    assert torch.allclose(found.truth, expected[torch.arange(21), y])
