"""Macro precision, recall and F1 are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from goodness.results import macro_averages


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("kind", ["random", "right", "one answer", "classes that never occur"])
def test_they_are_those_of_scikit_learn(classes, kind):
    draw = np.random.default_rng(classes)
    true = draw.integers(0, classes, 50)
    said = np.where(draw.random(50) < 0.6, true, draw.integers(0, classes, 50))
    if kind == "right":
        said = true
    elif kind == "one answer":
        said = np.ones_like(true)
    labels = range(classes + 3) if kind == "classes that never occur" else range(classes)
    confusion = confusion_matrix(true, said, labels=list(labels)).tolist()
    expected = precision_recall_fscore_support(true, said, average="macro", zero_division=0)
    assert macro_averages(confusion) == pytest.approx(expected[:3], abs=1e-12)
