"""Distance-Forward's margin loss against its formula."""

from __future__ import annotations

import pytest
import torch

Y = torch.tensor([0, 2, 1, 2])


def goodness(objective, row):
    e = row.flatten() / torch.sqrt((row**2).sum())
    found = []
    for anchor in objective.anchors:
        u = anchor / torch.sqrt((anchor**2).sum())
        found.append(-((e - u) ** 2).sum())
    return found


def n_pair(objective, row, label, margin, push):
    g = goodness(objective, row)
    wrong = [k for k in range(3) if k != label]
    terms = [torch.clamp(margin + g[k] - g[label], min=0) + push * g[k] for k in wrong]
    return sum(terms) / len(wrong)


@pytest.mark.parametrize("anchors", ["learned", "random"])
def test_margin_to_every_wrong_anchor(judge, features, anchors):
    objective = judge.make(
        "anchors", judge.spec(), anchors=anchors, margin=0.7, push=0.1, pool=None, most=None
    )
    assert objective.anchors.requires_grad == (anchors == "learned")

    judge.agree(
        objective,
        features(),
        Y,
        lambda z: [
            n_pair(objective, row, y, 0.7, 0.1) for row, y in zip(z, Y.tolist(), strict=True)
        ],
    )


def test_feedback_sends_the_last_block_s_error_through_a_fixed_matrix(judge, features):
    objective = judge.make("anchors", judge.spec(), feedback=0.2, most=None)
    h = features()
    last = torch.randn(4, 3).double()

    def reference(z):
        losses = []
        for i, (row, label) in enumerate(zip(z, Y.tolist(), strict=True)):
            p = torch.exp(last[i]) / torch.exp(last[i]).sum()
            error = [p[k] - float(k == label) for k in range(3)]
            e = row.flatten() / torch.sqrt((row**2).sum())
            back = sum(error[k] * (objective.back[k] @ e) for k in range(3))
            losses.append(n_pair(objective, row, label, 0.5, 0.03) + 0.2 * back)
        return losses

    assert objective.needs_later_scores
    judge.agree(objective, h, Y, reference, judge.context(h, ahead=[None, None, last]))


def test_the_last_block_needs_no_feedback(judge):
    assert not judge.make("anchors", judge.spec(index=2), feedback=0.2).needs_later_scores
