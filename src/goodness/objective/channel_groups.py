from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from goodness.functional import group_matrix, stretch, supervised_contrast
from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.types import NonNegative, Positive, Share


@OBJECTIVES.register("channel-groups")
class ChannelGroups(Objective):
    """Channel-wise competition: a contiguous group of channels per class, the true one shall win.

    CwComp (arXiv 2312.12668): G_k = mean of squares over group k's channels and all positions.
    DeeperForward (ICLR 2025) has the mean activation instead. In HCL-FF (arXiv 2605.24797) early
    blocks classify into coarse clusters, and a contrastive term is added.

    Args:
        spec: the block.
        goodness: ``"square"`` or ``"mean"``.
        loss: ``"ce"`` cross-entropy of G; ``"cwc"`` the same ratio with G clamped to 50 and 1e-9
            added above and below; ``"pvn"`` positive against negative, the mean of
            softplus(2 - G_y) and softplus(mean of the other G - 2); ``"cwg"`` 0.28 ce + 0.72 pvn.
        targets: number of competing groups in each block (with more or fewer blocks than numbers
            each has the nearest one), None for K in all. With fewer than K, classes are merged
            into index blocks, class k to group k * T // K, as CwComp's code does; the scores of
            merged classes are equal.
        coarse: without ``targets``: the leading part of the blocks, 0 to 1, that classifies into
            clusters, from a few to K in geometric steps.
        contrast: weight of the supervised contrastive loss on the averaged map.
        temperature: of the contrastive loss.
        tau: temperature of the cross-entropy, by which goodness is divided.
    """

    matrix: Tensor
    group_of: Tensor

    def __init__(
        self,
        spec: BlockSpec,
        *,
        goodness: Literal["square", "mean"] = "square",
        loss: Literal["ce", "cwc", "pvn", "cwg"] = "ce",
        targets: list[Annotated[int, Field(ge=2)]] | None = None,
        coarse: Share = 0.0,
        contrast: NonNegative = 0.0,
        temperature: Positive = 0.07,
        tau: Positive = 1.0,
    ) -> None:
        super().__init__()
        if targets:
            groups = min(stretch(targets, spec.count)[spec.index], spec.num_classes)
        else:
            groups = max(2, int(spec.num_classes ** _cluster_part(spec, coarse) + 1e-9))
        self.goodness = goodness
        self.kind = loss
        self.contrast = contrast
        self.coupled = contrast > 0
        self.supports_soft_labels = loss == "ce" and contrast == 0
        self.temperature = temperature
        self.tau = tau
        group_of = torch.arange(spec.num_classes) * groups // spec.num_classes
        self.register_buffer("matrix", group_matrix(spec.features[0], groups))
        self.register_buffer("group_of", group_of)

    @classmethod
    def max_classes(cls, spec: BlockSpec, options: Mapping[str, Any]) -> int | None:
        """A class, or a group of merged ones, needs a channel."""
        targets, channels = options["targets"], spec.features[0]
        if targets:
            return None if stretch(targets, spec.count)[spec.index] <= channels else channels
        # K classes make K ** part clusters, see `_cluster_part`.
        return int(channels ** (1 / _cluster_part(spec, options["coarse"])) + 1e-9)

    def native(self, h: Tensor) -> Tensor:
        """G of every group, (N, C, H, W) to (N, T)."""
        pooled = h.square() if self.goodness == "square" else h
        return pooled.mean((2, 3)) @ self.matrix

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K); equal for classes that are merged."""
        return self.native(h)[:, self.group_of]

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,)."""
        g = self.native(h)
        if y.dim() == 1:
            target = self.group_of[y]
        else:  # of merged classes a group has all shares
            target = y @ F.one_hot(self.group_of, g.shape[1]).to(y.dtype)
        loss = competition_loss(g / self.tau, target, self.kind)
        if self.contrast:
            features = h.mean((2, 3))
            loss = loss + self.contrast * supervised_contrast(features, y, self.temperature)
        return loss


def _cluster_part(spec: BlockSpec, coarse: float) -> float:
    """The exponent of K that gives a block's number of clusters: 1 where there is one per class."""
    steps = int(coarse * spec.count)
    return (spec.index + 1) / (steps + 1) if spec.index < steps else 1.0


def competition_loss(g: Tensor, target: Tensor, kind: str) -> Tensor:
    """CwComp's losses of goodness (N, T) against the true group (N,); see `ChannelGroups`.

    The ``"ce"`` takes shares of the groups, (N, T), too.
    """
    if kind == "ce":
        return F.cross_entropy(g, target, reduction="none")
    true = g.gather(1, target[:, None]).squeeze(1)
    if kind == "cwc":
        powers = g.clamp(-50, 50).exp()
        chosen = powers.gather(1, target[:, None]).squeeze(1)
        return -((chosen + 1e-9) / (powers.sum(1) + 1e-9)).log()
    others = (g.sum(1) - true) / (g.shape[1] - 1)
    versus = (F.softplus(2 - true) + F.softplus(others - 2)) / 2
    if kind == "pvn":
        return versus
    return 0.28 * F.cross_entropy(g, target, reduction="none") + 0.72 * versus
