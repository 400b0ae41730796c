"""A tree of classes, from all of them at its root down to each one alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from goodness.errors import InputError

Tree = Sequence[Sequence[int]]


def class_tree(rows: Tensor) -> list[list[int]]:
    """Classes that resemble each other, merged two by two (Ward's agglomerative clustering).

    HCL-FF (arXiv 2605.24797) takes the unit-length rows of a trained linear classifier, or class
    means of images.

    Args:
        rows: one per class, (K, D).

    Returns:
        K - 1 pairs, the first merge first. Numbers below K are classes, K + i is what pair i made.

    >>> class_tree(torch.tensor([[0.0], [5.0], [1.0], [6.0]]))
    [[0, 2], [1, 3], [4, 5]]
    """
    from scipy.cluster.hierarchy import linkage  # late: few methods need it

    if len(rows) < 2:
        return []
    merges = linkage(rows.detach().cpu().double().numpy(), method="ward")
    return [[int(one), int(other)] for one, other, *_ in merges]


def check_tree(tree: Tree, num_classes: int) -> None:
    """Refuse what is no tree of so many classes.

    Raises:
        InputError: another number of classes, or a node that is merged twice or not at all.
    """
    if len(tree) != num_classes - 1:
        raise InputError(
            f"objective.tree: {len(tree)} merges make a tree of {len(tree) + 1} classes, and there"
            f" are {num_classes}"
        )
    for place, merge in enumerate(tree):
        if len(merge) != 2 or not all(0 <= node < num_classes + place for node in merge):
            raise InputError(
                f"objective.tree: merge {place} has to be two numbers from 0 to"
                f" {num_classes + place - 1} (got {list(merge)})"
            )
    if len({node for merge in tree for node in merge}) != 2 * len(tree):
        raise InputError("objective.tree: a class or cluster is merged twice")


def tree_depth(tree: Tree) -> int:
    """Levels below the root, D; at the last one every class is alone."""
    num_classes, depth, nodes = len(tree) + 1, 0, [2 * len(tree)]
    while any(node >= num_classes for node in nodes):
        nodes, depth = _below(tree, nodes), depth + 1
    return depth


def clusters_at(tree: Tree, level: int) -> Tensor:
    """The number of every class's cluster at a level of the tree, (K,).

    At the root, level 0, there is one; a level splits each in two that is not a class alone.
    """
    num_classes, nodes = len(tree) + 1, [2 * len(tree)]
    for _ in range(level):
        nodes = _below(tree, nodes)
    cluster_of = torch.zeros(num_classes, dtype=torch.long)
    for cluster, node in enumerate(nodes):
        inside = [node]
        while any(node >= num_classes for node in inside):
            inside = _below(tree, inside)
        cluster_of[inside] = cluster
    return cluster_of


def _below(tree: Tree, nodes: Sequence[int]) -> list[int]:
    """Children in place of clusters; classes stay."""
    first = len(tree) + 1
    return [child for node in nodes for child in (tree[node - first] if node >= first else (node,))]
