from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from goodness.learning.learner import StepResult


class EpochMetrics:
    """Sums over the steps of an epoch, per block, kept on the device."""

    def __init__(self, blocks: int, device: torch.device) -> None:
        self.sums = torch.zeros(4, blocks, dtype=torch.float64, device=device)

    def add(self, result: StepResult, y: Tensor) -> None:
        """Count one step's losses and right answers."""
        rows = len(y)
        for index, (loss, scores) in enumerate(zip(result.losses, result.scores, strict=True)):
            if loss is not None:
                self.sums[0, index] += loss * rows
                self.sums[1, index] += rows
            if scores is not None:
                self.sums[2, index] += (scores.argmax(1) == y).sum()
                self.sums[3, index] += rows

    def read(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Mean loss and accuracy of every block so far; None where there is none."""
        loss, judged, right, asked = self.sums.tolist()
        return [
            {
                "name": name,
                "loss": loss[i] / judged[i] if judged[i] else None,
                "accuracy": right[i] / asked[i] if asked[i] else None,
            }
            for i, name in enumerate(names)
        ]
