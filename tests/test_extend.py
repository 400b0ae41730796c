"""docs/extend.md: its new objective and method work as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from goodness import audit, build
from goodness.clock import Clock
from goodness.learning.learner import Learner
from goodness.methods import METHODS
from goodness.objective import OBJECTIVES

PAGE = (Path(__file__).parent.parent / "docs" / "extend.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def mean_activation():
    METHODS.names(), OBJECTIVES.names()
    for snippet in SNIPPETS:
        exec(snippet, {"__name__": "snippet"})
    yield "mean-activation"
    del METHODS._entries["mean-activation"], OBJECTIVES._entries["mean-activation"]


def test_the_objective_is_short():
    lines = [line for line in SNIPPETS[0].splitlines() if line.strip()]
    assert len(lines) <= 25


def test_the_new_method_learns_and_is_local(mean_activation, batch):
    model = {"name": "small-cnn", "widths": [8, 12], "pools": []}
    network = build(mean_activation, image_shape=(1, 8, 8), num_classes=4, model=model)
    images, y = batch(8, (1, 8, 8), 4)
    h = torch.randn(2, 8, 3, 3)

    scores = network[0].objective.scores(h)
    losses = [
        sum(Learner(network).step(images, y, Clock(step, 20, 1)).losses).item()
        for step in range(20)
    ]

    torch.testing.assert_close(scores[:, 1], h[:, 2:4].mean((1, 2, 3)))
    assert audit(network).locality == METHODS[mean_activation].locality
    assert losses[-1] < losses[0]
