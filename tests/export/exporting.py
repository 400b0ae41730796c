"""What tests of exports share: networks with readouts that say something, for every method."""

from __future__ import annotations

import sys

import pytest

from goodness.config import resolve
from goodness.data import Preprocessing
from goodness.methods import METHODS
from helpers import learner_of, random_batch, tiny_network

SHAPE = (3, 8, 8)
PREPROCESSING = Preprocessing(
    channels=3, height=8, width=8, mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.25], classes=list("äbc")
)


def kinds(method):
    """What an export has to carry of a method: a presentation and readouts."""
    config = resolve({"method": method})
    return {config.presentation["name"], *config.readouts}


def representatives():
    """Methods that have every presentation and readout between them; others are slow tests."""
    chosen, seen = [], {"morphology"}  # seven convolutions for each class take their time
    for method in METHODS.names():
        if kinds(method) - seen:
            chosen.append(method)
            seen |= kinds(method)
    return chosen


def trained(method, **values):
    """A network whose readouts are not all zero."""
    network = tiny_network(method, SHAPE, num_classes=3, **values)
    learner = learner_of(network, (2, 2))
    for step in range(2):
        learner.step(*random_batch(8, SHAPE, 3, seed=step))
    return network


def without(monkeypatch, package):
    """As if a package were not installed."""
    for name in list(sys.modules):
        if name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


methods = pytest.mark.parametrize(
    "method",
    [
        pytest.param(m, marks=[] if m in representatives() else pytest.mark.slow)
        for m in METHODS.names()
    ],
)
