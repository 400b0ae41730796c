from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from goodness.devices import widest
from goodness.learning.learner import StepResult
from goodness.results import BlockTraining


class EpochMetrics:
    """Sums over the steps of an epoch, per block, kept on the device."""

    def __init__(self, blocks: int, device: torch.device) -> None:
        self.sums = torch.zeros(4, blocks, dtype=widest(device), device=device)

    def add(self, result: StepResult, y: Tensor) -> None:
        """Count one step's losses and right answers; of soft labels (N, K) the answers' shares."""
        rows = len(y)
        for index, (loss, scores) in enumerate(zip(result.losses, result.scores, strict=True)):
            if loss is not None:
                self.sums[0, index] += loss * rows
                self.sums[1, index] += rows
            if scores is not None:
                answers = scores.argmax(1)
                right = answers == y if y.dim() == 1 else y.gather(1, answers[:, None])
                self.sums[2, index] += right.sum()
                self.sums[3, index] += rows

    def read(self, names: Sequence[str]) -> list[BlockTraining]:
        """Mean loss and accuracy of every block so far."""
        loss, losses, right, answers = self.sums.tolist()
        return [
            BlockTraining(
                name,
                loss[i] / losses[i] if losses[i] else None,
                right[i] / answers[i] if answers[i] else None,
            )
            for i, name in enumerate(names)
        ]
