"""Temperatures and calibration errors against slow references."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from goodness.exits.calibration import expected_calibration_error, fit_temperature, reliability


def draw(count=400, classes=5, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, classes, generator=generator)
    y = torch.distributions.Categorical(logits=scores).sample().squeeze()
    return scores * scale, y


def loss(scores, y, temperature):
    """The smoothed negative log-likelihood, image by image."""
    target, total = 1 / (len(y) + 2), 0.0
    for row, label in zip(scores.tolist(), y.tolist(), strict=True):
        logits = [value / temperature for value in row]
        norm = math.log(sum(math.exp(value) for value in logits))
        total += (1 - target) * (norm - logits[label])
        total += target * sum(norm - value for value in logits) / len(row)
    return total / len(y)


@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
def test_the_temperature_is_the_minimum_of_the_likelihood(scale):
    torch.manual_seed(0)
    scores, y = draw(scale=scale)
    found = fit_temperature(scores, y)
    least = loss(scores, y, found)
    assert all(loss(scores, y, found * factor) > least for factor in (0.97, 1.03))
    # Scores that are too loud by a factor have it as temperature.
    assert found == pytest.approx(scale, rel=0.2)


def test_scores_that_are_right_on_all_images_keep_some_doubt():
    scores = 2 * torch.eye(4).repeat(5, 1)
    temperature = fit_temperature(scores, scores.argmax(1))
    sure = (scores / temperature).softmax(1).amax(1)
    assert 0.9 < sure.min() < 0.99


@pytest.mark.parametrize("bins", [5, 15])
@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_the_calibration_error_is_that_of_torchmetrics(bins, scale):
    scores, y = draw(scale=scale)
    probabilities = scores.softmax(1)
    sure, answers = probabilities.max(1)
    expected = multiclass_calibration_error(probabilities, y, num_classes=5, n_bins=bins)
    found = expected_calibration_error(sure, answers == y, bins)
    assert found == pytest.approx(float(expected), abs=1e-5)
    assert found > 0.02


def test_bins_are_of_equal_width_and_the_last_one_holds_certainty():
    sure = torch.tensor([0.1, 0.3, 0.35, 1.0])
    right = torch.tensor([False, True, False, True])
    found = reliability(sure, right, bins=4)
    torch.testing.assert_close(found.share, torch.tensor([0.25, 0.5, 0, 0.25]).double())
    torch.testing.assert_close(found.accuracy, torch.tensor([0, 0.5, 0, 1.0]).double())
    expected = torch.tensor([0.1, 0.325, 0, 1.0]).double()
    torch.testing.assert_close(found.confidence, expected, rtol=1e-6, atol=1e-6)
