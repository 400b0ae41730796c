from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.errors import InputError
from goodness.functional import group_matrix, group_standardise, stretch, supervised_contrast
from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.objective.hierarchy import Tree, check_tree, clusters_at, tree_depth
from goodness.types import NonNegative, Positive, PositiveInt, Share

Levels = Literal["linear", "increasing"]


@OBJECTIVES.register("channel-groups")
class ChannelGroups(Objective):
    """Channel-wise competition: a contiguous group of channels per class, the true one shall win.

    CwComp (arXiv 2312.12668): G_k = mean of squares over group k's channels and all positions.
    DeeperForward (ICLR 2025) has the mean activation instead. In HCL-FF (arXiv 2605.24797) clusters
    of classes compete in early blocks, a cluster's G the mean of its classes', and a contrastive
    term is added.

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
            index blocks, from a few to K in geometric steps.
        tree: which classes resemble each other, as `goodness.class_tree` gives it; a block's
            clusters are those of a level of the tree. ``"images"``: the tree of the class means of
            the training images, which training puts in its place; without them, in a loop of your
            own say, every class is alone. None: every class is alone.
        levels: of the tree's D levels, where block i of B has ``"linear"``: 1 + i D // B, or
            ``"increasing"``: 1 + i, and D at most.
        contrast: weight of the supervised contrastive loss, of the classes themselves.
        projection: the contrast is of a linear map to so many features, with a batch norm, of the
            map normalised group by group and averaged to 4x4 cells (up to 100 channels), 2x2 (up to
            400) or 1; None: of the map averaged as it is.
        temperature: of the contrastive loss.
        tau: temperature of the cross-entropy, by which goodness is divided.

    Raises:
        InputError: a tree that is none of these classes, or beside ``targets`` or ``coarse``.
    """

    matrix: Tensor
    group_of: Tensor
    cluster_of: Tensor
    clusters: Tensor

    def __init__(
        self,
        spec: BlockSpec,
        *,
        goodness: Literal["square", "mean"] = "square",
        loss: Literal["ce", "cwc", "pvn", "cwg"] = "ce",
        targets: list[Annotated[int, Field(ge=2)]] | None = None,
        coarse: Share = 0.0,
        tree: Literal["images"] | list[list[int]] | None = None,
        levels: Levels = "linear",
        contrast: NonNegative = 0.0,
        projection: PositiveInt | None = None,
        temperature: Positive = 0.07,
        tau: Positive = 1.0,
    ) -> None:
        super().__init__()
        if tree and (targets or coarse):
            raise InputError("objective.tree: leave out objective.targets and objective.coarse")
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
        cluster_of = torch.arange(spec.num_classes)
        if isinstance(tree, list):
            check_tree(tree, spec.num_classes)
            cluster_of = clusters_at(tree, _level(tree, levels, spec))
        members = F.one_hot(cluster_of).float()
        self.merges_scores = members.shape[1] < spec.num_classes
        self.register_buffer("cluster_of", cluster_of, persistent=False)
        self.register_buffer("clusters", members / members.sum(0), persistent=False)
        self.projection: nn.Module | None = None
        if contrast and projection is not None:
            channels, height, width = spec.features
            side = 4 if channels <= 100 else 2 if channels <= 400 else 1
            self.cells = min(side, height), min(side, width)
            features = channels * self.cells[0] * self.cells[1]
            self.projection = nn.Sequential(
                nn.Linear(features, projection, bias=False),
                nn.BatchNorm1d(projection, track_running_stats=False),
            )

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
        g, group_of = self.native(h), self.group_of
        if self.merges_scores:
            g, group_of = g @ self.clusters, self.cluster_of
        # Of merged classes a group has all shares.
        target = group_of[y] if y.dim() == 1 else y @ F.one_hot(group_of, g.shape[1]).to(y.dtype)
        loss = competition_loss(g / self.tau, target, self.kind)
        if self.contrast:
            contrast = supervised_contrast(self._embedded(h), y, self.temperature)
            loss = loss + self.contrast * contrast
        return loss

    def _embedded(self, h: Tensor) -> Tensor:
        """What is contrasted, (N, C, H, W) to (N, D)."""
        if self.projection is None:
            return h.mean((2, 3))
        normal = group_standardise(h, self.matrix.shape[1])
        return self.projection(F.adaptive_avg_pool2d(normal, self.cells).flatten(1))


def _cluster_part(spec: BlockSpec, coarse: float) -> float:
    """The exponent of K that gives a block's number of clusters: 1 where there is one per class."""
    steps = int(coarse * spec.count)
    return (spec.index + 1) / (steps + 1) if spec.index < steps else 1.0


def _level(tree: Tree, levels: Levels, spec: BlockSpec) -> int:
    """The level of the tree that a block learns."""
    depth = tree_depth(tree)
    step = spec.index * depth // spec.count if levels == "linear" else spec.index
    return min(1 + step, depth)


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
