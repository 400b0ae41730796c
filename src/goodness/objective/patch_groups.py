from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import class_shares
from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.types import PositiveInt


@OBJECTIVES.register("patch-groups")
class PatchGroups(Objective):
    """Many local losses per block (Ren et al., arXiv 2210.03310): one per patch and channel group.

    The map is averaged over P x P patches. A linear map of the patches' mean, all groups together,
    gives the logits, and each patch and group has a loss of its own: the same cross-entropy, but
    with a gradient by this patch's and group's features alone. Fewer activities per loss make the
    forward gradient less noisy.

    As in the released code, blocks learn from the sum of these losses, and the head from their
    mean: together that is the gradient of the plain cross-entropy of the patches' mean.

    Args:
        spec: the block.
        patches: P, cells per side.
        groups: groups that the channels are split into; where they do not divide, the next smaller
            number into which they do.
    """

    supports_soft_labels = True

    def __init__(
        self, spec: BlockSpec, *, patches: PositiveInt = 4, groups: PositiveInt = 1
    ) -> None:
        super().__init__()
        channels, height, width = spec.features
        self.grid = (min(patches, height), min(patches, width))
        self.groups = max(g for g in range(1, groups + 1) if channels % g == 0)
        self.linear = nn.Linear(channels, spec.num_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def scores(self, h: Tensor) -> Tensor:
        """Logits of the patches' average, (N, C, H, W) to (N, K)."""
        return self.linear(F.adaptive_avg_pool2d(h, self.grid).mean((2, 3)))

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N, G, P, P)."""
        scores = self.scores(h.detach())
        loss = F.cross_entropy(scores, y, reduction="none").reshape(-1, 1, 1, 1)
        error = (scores.softmax(1) - class_shares(y, scores.shape[1], scores.dtype)).detach()
        f = F.adaptive_avg_pool2d(h, self.grid).unflatten(1, (self.groups, -1))
        by_mean = (error @ self.linear.weight.detach()).unflatten(1, (self.groups, -1))
        # The mean over all losses is right for the patches; but the groups' shares add up.
        own = self.groups * torch.einsum("ngcpq,ngc->ngpq", f, by_mean)
        return loss + own - own.detach()
