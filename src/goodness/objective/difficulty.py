from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import class_shares

MEMORY = 0.9
"""What a class's difficulty keeps from one epoch to the next."""
LEAST, MOST = 0.5, 2.0
"""Of a weight."""


class ClassDifficulty(nn.Module):
    """Weights on a block's losses that grow with what it still gets wrong of a class.

    ``w_c = K exp(kappa d_c) / sum over k of exp(kappa d_k)``, between 0.5 and 2, with d_c = 1 - the
    share of class c's training images that the block's own scores have right, an average over
    epochs that moves by a tenth (FFGAF-SNN, arXiv 2507.23643, weighs classes by their difficulty;
    the formula and its constants are ours).

    Args:
        num_classes: K.
        kappa: how much difficulty counts; 0: not at all.
    """

    difficulty: Tensor
    known: Tensor
    right: Tensor
    seen: Tensor

    def __init__(self, num_classes: int, kappa: float) -> None:
        super().__init__()
        self.kappa = kappa
        # Counts: exact up to 2^24, so they do not depend on how many batches they are made of.
        for name in ("right", "seen"):
            self.register_buffer(name, torch.zeros(num_classes))
        self.register_buffer("difficulty", torch.zeros(num_classes))
        self.register_buffer("known", torch.zeros(num_classes, dtype=torch.bool))

    @property
    def weights(self) -> Tensor:
        """(K,); 1 for all before the first epoch is over."""
        return ((self.kappa * self.difficulty).softmax(0) * len(self.known)).clamp(LEAST, MOST)

    @torch.no_grad()
    def observe(self, scores: Tensor, y: Tensor) -> None:
        """Count what the scores (N, K) of images with labels (N,), or soft ones (N, K), have right.

        Of a soft label every class is seen by its share, and the answer has its own share right.
        """
        shown = class_shares(y, len(self.seen), self.seen.dtype)
        self.seen += shown.sum(0)
        self.right += (shown * F.one_hot(scores.argmax(1), len(self.seen))).sum(0)

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Take the counts into the difficulties, and begin to count again."""
        shown = self.seen > 0
        now = (1 - self.right / self.seen.clamp(min=1)).to(self.difficulty)
        moved = torch.where(self.known, torch.lerp(now, self.difficulty, MEMORY), now)
        self.difficulty.copy_(torch.where(shown, moved, self.difficulty))
        self.known |= shown
        self.right.zero_()
        self.seen.zero_()
