from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.objective.base import OBJECTIVES, Look, Objective, Spec


@OBJECTIVES.register("patch-groups")
class PatchGroups(Objective):
    """Many local losses per block (Ren et al., arXiv 2210.03310): one per patch and channel group.

    The map is averaged over P x P patches. A linear map of a patch's features, all groups together,
    gives its logits, and every group is charged their cross-entropy while the other groups' share
    is held fixed: a group is judged in company, but moves only itself. Fewer activities per loss
    make the forward gradient less noisy.

    Args:
        spec: the block.
        patches: P, cells per side.
        groups: groups that the channels are split into; where they do not divide, the next smaller
            number into which they do.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        patches: Annotated[int, Field(ge=1)] = 4,
        groups: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        super().__init__()
        channels, height, width = spec.judged
        self.grid = (min(patches, height), min(patches, width))
        self.groups = max(g for g in range(1, groups + 1) if channels % g == 0)
        self.linear = nn.Linear(channels, spec.classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def scores(self, h: Tensor) -> Tensor:
        """Logits of the patches' average, (N, C, H, W) to (N, K)."""
        return self.linear(F.adaptive_avg_pool2d(h, self.grid).mean((2, 3)))

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, look: Look) -> Tensor:
        """(N, G, P, P)."""
        f = F.adaptive_avg_pool2d(h, self.grid).unflatten(1, (self.groups, -1))
        weight = self.linear.weight.unflatten(1, (self.groups, -1))
        share = torch.einsum("ngcpq,kgc->nkgpq", f, weight)
        everybody = share.sum(2, keepdim=True)
        logits = share + (everybody - share).detach() + self.linear.bias.reshape(-1, 1, 1, 1)
        target = y.reshape(-1, 1, 1, 1).expand(-1, *logits.shape[2:])
        return F.cross_entropy(logits, target, reduction="none")
