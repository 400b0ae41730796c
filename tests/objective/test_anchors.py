"""Distance-Forward's margin loss against its formula."""

from __future__ import annotations

import pytest
import torch
from formulas import Y, agree, block, context, draw, each, make


def n_pair(objective, row, label, margin, push):
    e = row.flatten() / torch.sqrt((row**2).sum())
    units = [anchor / torch.sqrt((anchor**2).sum()) for anchor in objective.anchors]
    g = [-((e - u) ** 2).sum() for u in units]
    wrong = [k for k in range(3) if k != label]
    terms = [torch.clamp(margin + g[k] - g[label], min=0) + push * g[k] for k in wrong]
    return sum(terms) / len(wrong)


@pytest.mark.parametrize("anchors", ["learned", "random"])
def test_margin_to_every_wrong_anchor(anchors):
    objective = make("anchors", anchors=anchors, margin=0.7, push=0.1, pool=None, most=None)

    assert objective.anchors.requires_grad == (anchors == "learned")
    agree(objective, draw(), Y, each(lambda row, y: n_pair(objective, row, y, 0.7, 0.1)))


def test_feedback_projects_the_last_block_s_error_by_a_fixed_matrix():
    objective = make("anchors", feedback=0.2, most=None)
    h, last = draw(), torch.randn(4, 3).double()

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
    agree(objective, h, Y, reference, context(h, later_scores=[None, None, last]))


def test_the_last_block_needs_no_feedback():
    assert not make("anchors", block(index=2), feedback=0.2).needs_later_scores
