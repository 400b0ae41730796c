"""Trees of classes: Ward's clustering against its definition, and the levels of a tree."""

from __future__ import annotations

import itertools

import pytest
import torch

import goodness
from goodness.objective.hierarchy import clusters_at, tree_depth


def ward(rows):
    """Merge the two clusters whose union adds least to the squared distances from the means."""
    clusters, merges = {k: [k] for k in range(len(rows))}, []

    def spread(members):
        inside = rows[members]
        return ((inside - inside.mean(0)) ** 2).sum().item()

    for step in range(len(rows) - 1):
        one, other = min(
            itertools.combinations(clusters, 2),
            key=lambda pair: (
                spread(clusters[pair[0]] + clusters[pair[1]])
                - spread(clusters[pair[0]])
                - spread(clusters[pair[1]])
            ),
        )
        merges.append({one, other})
        clusters[len(rows) + step] = clusters.pop(one) + clusters.pop(other)
    return merges


@pytest.mark.parametrize("count", [2, 3, 10, 17])
def test_classes_are_merged_as_ward_does(count):
    rows = torch.randn(count, 6, generator=torch.Generator().manual_seed(count))

    assert [set(merge) for merge in goodness.class_tree(rows)] == ward(rows)


def test_a_class_alone_has_no_tree():
    assert goodness.class_tree(torch.zeros(1, 3)) == []
    assert tree_depth([]) == 0
    assert clusters_at([], 0).tolist() == [0]


@pytest.mark.parametrize("count", [2, 5, 12])
def test_each_level_splits_the_one_above(count):
    tree = goodness.class_tree(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)))
    depth = tree_depth(tree)
    levels = [clusters_at(tree, level) for level in range(depth + 2)]

    assert levels[0].tolist() == [0] * count
    assert levels[1].unique().tolist() == [0, 1]
    assert len(levels[depth].unique()) == count
    assert len(levels[depth - 1].unique()) < count
    assert torch.equal(levels[depth], levels[depth + 1])
    for above, below in itertools.pairwise(levels):
        for one, other in itertools.combinations(range(count), 2):
            assert below[one] != below[other] or above[one] == above[other]
