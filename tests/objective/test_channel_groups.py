"""CwComp's losses and DeeperForward's goodness against their formulas."""

from __future__ import annotations

import pytest
import torch
from formulas import Y, agree, block, context, cross_entropy, draw, each, make

from goodness import InputError


def goodness(row, groups, square=True):
    """Mean over each group's channels and positions; 7 channels in 3 groups are 3, 2 and 2."""
    found = []
    for k in range(groups):
        members = [c for c in range(len(row)) if c * groups // len(row) == k]
        values = [v for c in members for v in row[c].flatten()]
        found.append(sum(v**2 if square else v for v in values) / len(values))
    return found


def softplus(x):
    return torch.log(1 + torch.exp(x))


def versus(g, target):
    wrong = [v for k, v in enumerate(g) if k != target]
    return (softplus(2 - g[target]) + softplus(sum(wrong) / len(wrong) - 2)) / 2


LOSSES = {
    "ce": cross_entropy,
    "cwc": lambda g, t: (
        -torch.log((torch.exp(g[t]) + 1e-9) / (sum(torch.exp(v) for v in g) + 1e-9))
    ),
    "pvn": versus,
    "cwg": lambda g, t: 0.28 * cross_entropy(g, t) + 0.72 * versus(g, t),
}


@pytest.mark.parametrize("channels", [6, 7])
@pytest.mark.parametrize("kind", ["square", "mean"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_losses(loss, kind, channels):
    shape = (channels, 2, 3)
    objective = make("channel-groups", block(shape), loss=loss, goodness=kind)
    reference = each(lambda row, y: LOSSES[loss](goodness(row, 3, kind == "square"), y))

    agree(objective, draw(4, shape), Y, reference)


def test_goodness_beyond_fifty_is_clamped_in_the_cwc_loss():
    objective = make("channel-groups", block((3, 1, 1)), loss="cwc")
    h = torch.tensor([10.0, 8.0, 0.0], dtype=torch.double).reshape(1, 3, 1, 1)

    loss = objective.loss(h, objective.scores(h), torch.tensor([0]), context(h))

    torch.testing.assert_close(loss, torch.tensor([2.0], dtype=torch.double).log())


def test_merged_classes_compete_as_one():
    """Five classes in two groups by index: 0, 1, 2 against 3, 4."""
    y = torch.tensor([0, 4, 2, 3])
    objective = make("channel-groups", block((4, 2, 2), num_classes=5), targets=[2, 5, 5])
    h = draw(4, (4, 2, 2))

    agree(objective, h, y, each(lambda row, k: cross_entropy(goodness(row, 2), int(k >= 3)), y))
    scores = objective.scores(h)
    assert scores.shape == (4, 5)
    assert torch.equal(scores[:, 0], scores[:, 2])
    assert torch.equal(scores[:, 3], scores[:, 4])


def test_coarse_to_fine():
    specs = [block((64, 1, 1), num_classes=64, index=i, count=4) for i in range(4)]
    groups = [make("channel-groups", spec, coarse=0.5).matrix.shape[1] for spec in specs]

    assert groups == [4, 16, 64, 64]


def test_contrastive_term():
    spec = block((6, 2, 2))
    objective = make("channel-groups", spec, contrast=0.5, temperature=0.3)
    y = torch.tensor([0, 2, 0, 0])

    def reference(z):
        means = [row.mean((1, 2)) for row in z]
        unit = [m / torch.sqrt((m**2).sum()) for m in means]
        losses = []
        for i, label in enumerate(y.tolist()):
            others = [j for j in range(4) if j != i]
            total = sum(torch.exp((unit[i] @ unit[j]) / 0.3) for j in others)
            alike = [j for j in others if y[j] == label]
            logs = [torch.log(torch.exp((unit[i] @ unit[j]) / 0.3) / total) for j in alike]
            contrast = -sum(logs) / len(alike) if alike else 0.0
            losses.append(cross_entropy(goodness(z[i], 3), label) + 0.5 * contrast)
        return losses

    h = draw(4, (6, 2, 2))
    agree(objective, h, y, reference)
    assert torch.equal(objective.scores(h), make("channel-groups", spec).scores(h))


TREE = [[0, 3], [1, 2], [4, 5], [6, 7]]
"""Five classes: 0 with 3 (5), 1 with 2 (6), 4 with {0, 3} (7), and {4, 0, 3} with {1, 2} (8)."""
LEVELS = [[{0, 3, 4}, {1, 2}], [{0, 3}, {4}, {1}, {2}], [{0}, {3}, {4}, {1}, {2}]]


def clustered(row, level, label, groups=5, square=False):
    """-log softmax of the true cluster; a cluster's goodness is the mean of its classes'."""
    g = goodness(row, groups, square)
    means = [sum(g[k] for k in cluster) / len(cluster) for cluster in LEVELS[level - 1]]
    return cross_entropy(means, next(i for i, c in enumerate(LEVELS[level - 1]) if label in c))


@pytest.mark.parametrize(
    ("levels", "count", "expected"),
    [
        ("linear", 17, [1] * 6 + [2] * 6 + [3] * 5),  # 1 + i * 3 // 17
        ("linear", 2, [1, 2]),
        ("increasing", 5, [1, 2, 3, 3, 3]),
    ],
)
def test_clusters_of_the_level_of_a_block(levels, count, expected):
    y = torch.tensor([0, 4, 2, 3])
    h = draw(4, (7, 2, 2))
    for index, level in enumerate(expected):
        spec = block((7, 2, 2), num_classes=5, index=index, count=count)
        objective = make("channel-groups", spec, goodness="mean", tree=TREE, levels=levels)
        agree(objective, h, y, each(lambda row, k, at=level: clustered(row, at, k), y))
        # Every class keeps a score of its own.
        own = [torch.stack(goodness(row, 5, square=False)) for row in h]
        torch.testing.assert_close(objective.scores(h), torch.stack(own))


@pytest.mark.parametrize(
    ("channels", "side", "cells"), [(6, 6, 4), (6, 3, 3), (102, 3, 2), (402, 2, 1)]
)
def test_contrast_of_a_projection(channels, side, cells):
    """Group norm, cells, linear map, batch norm, and the contrast of the classes themselves."""
    shape, y = (channels, side, side), torch.tensor([0, 2, 0, 0])
    spec = block(shape)
    options = {"goodness": "mean", "contrast": 0.5, "temperature": 0.3}
    objective = make("channel-groups", spec, projection=5, tree=[[0, 1], [2, 3]], **options)
    linear, norm = objective.projection
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)

    def embedded(z):
        rows = []
        for row in z:
            normal = torch.cat(
                [
                    (g - g.mean()) / torch.sqrt(g.var(correction=0) + 1e-5)
                    for g in row.split(channels // 3)
                ]
            )
            edges = [(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]
            pooled = [
                c[top:end, left:right].mean()
                for c in normal
                for top, end in edges
                for left, right in edges
            ]
            rows.append(linear.weight @ torch.stack(pooled))
        stacked = torch.stack(rows)
        centred = stacked - stacked.mean(0)
        unit = centred / torch.sqrt((centred**2).mean(0) + 1e-5)
        return unit * norm.weight + norm.bias

    def reference(z):
        e = [row / torch.sqrt((row**2).sum()) for row in embedded(z)]
        losses = []
        for i, label in enumerate(y.tolist()):
            g = goodness(z[i], 3, square=False)
            coarse = [(g[0] + g[1]) / 2, g[2]]
            others = [j for j in range(4) if j != i]
            total = sum(torch.exp(e[i] @ e[j] / 0.3) for j in others)
            alike = [j for j in others if y[j] == label]
            logs = [torch.log(torch.exp(e[i] @ e[j] / 0.3) / total) for j in alike]
            contrast = -sum(logs) / len(alike) if alike else 0.0
            losses.append(cross_entropy(coarse, int(label == 2)) + 0.5 * contrast)
        return losses

    # Clusters of a tree come in its own order: the class alone is the second child.
    assert objective.cluster_of.tolist() in ([0, 0, 1], [1, 1, 0])
    agree(objective, draw(4, shape), y, reference)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tree": [[0, 1]]}, "tree of 2 classes, and there are 3"),
        ({"tree": [[0, 1], [2, 4]]}, r"merge 1 .* 0 to 3 \(got \[2, 4\]\)"),
        ({"tree": [[0, 1], [0, 3]]}, "merged twice"),
        ({"tree": [[0, 1], [2]]}, "merge 1"),
        ({"tree": [[0, 1], [2, 3]], "coarse": 0.5}, "leave out"),
        ({"tree": [[0, 1], [2, 3]], "targets": [2]}, "leave out"),
    ],
)
def test_what_is_no_tree_of_the_classes_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        make("channel-groups", **options)
