"""How far confidence is from accuracy, and the temperature that brings them together."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from goodness.devices import wide

BINS = 15
LEAST, MOST = 1e-3, 1e3
"""Of a temperature."""


class Bins(NamedTuple):
    """Answers by their confidence, (bins,) each; 0 where a bin has none."""

    confidence: Tensor
    """The mean."""
    accuracy: Tensor
    share: Tensor
    """Part of all answers."""


def fit_temperature(scores: Tensor, y: Tensor) -> float:
    """The temperature T with the least negative log-likelihood of softmax(scores / T).

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599): no answer changes. Found by L-BFGS on
    log T. The target of the true class is 1 - 1 / (N + 2), near to Platt's (1999), so that scores
    which are right on all N images do not get a temperature of 0.

    Args:
        scores: (N, K).
        y: labels (N,).
    """
    scores = wide(scores.detach())
    y = y.to(scores.device)
    log_t = torch.zeros((), dtype=torch.float64, device=scores.device, requires_grad=True)
    search = torch.optim.LBFGS([log_t], max_iter=100, line_search_fn="strong_wolfe")
    smoothing = 1 / (len(y) + 2)

    def loss() -> Tensor:
        search.zero_grad()
        bounded = log_t.clamp(math.log(LEAST), math.log(MOST))
        found = F.cross_entropy(scores / bounded.exp(), y, label_smoothing=smoothing)
        found.backward()
        return found

    with torch.enable_grad():
        search.step(loss)
    return min(max(log_t.exp().item(), LEAST), MOST)


def reliability(confidence: Tensor, right: Tensor, bins: int = BINS) -> Bins:
    """Mean confidence and accuracy of the answers in each of ``bins`` equal parts of [0, 1].

    Args:
        confidence: (N,), probabilities of the answers.
        right: bool (N,), whether they are.
        bins: how many.
    """
    place = (confidence * bins).long().clamp(0, bins - 1)
    count = torch.bincount(place, minlength=bins).double()

    def mean(values: Tensor) -> Tensor:
        total = torch.bincount(place, weights=values.double(), minlength=bins)
        return total / count.clamp(min=1)

    return Bins(mean(confidence), mean(right), count / len(confidence))


def expected_calibration_error(confidence: Tensor, right: Tensor, bins: int = BINS) -> float:
    """The mean distance of confidence and accuracy over bins (Guo et al. 2017, equation 3), 0 to 1.

    Args:
        confidence: as in `reliability`.
        right: as in `reliability`.
        bins: as in `reliability`.
    """
    found = reliability(confidence, right, bins)
    return float((found.share * (found.accuracy - found.confidence).abs()).sum())
