from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from goodness.registry import Registry

Shape = tuple[int, int, int]
OBJECTIVES: Registry[type[Objective]]


@dataclass(frozen=True)
class Spec:
    """What objectives and readouts know of a block when they are built; shapes are (C, H, W)."""

    index: int
    count: int
    classes: int
    judged: Shape
    sent: Shape
    widest: int
    """Channels of the widest block of the network."""


class Objective(nn.Module):
    """Judges one block. Subclasses take ``(spec, *, options)``."""

    def scores(self, h: Tensor) -> Tensor:
        """Class scores (N, K), with graph, of the judged features ``h`` (N, C, H, W), float32."""
        raise NotImplementedError

    def loss(self, h: Tensor, scores: Tensor, y: Tensor) -> Tensor:
        """One loss per row, (N,); by default the cross-entropy of the scores."""
        return F.cross_entropy(scores, y, reduction="none")

    def facts(self) -> dict[str, int | float]:
        """What was derived from the spec: shown in listings and checked with checkpoints."""
        return {}


OBJECTIVES = Registry("objective", __package__)
