"""Thresholds by class precision margin against the rule written out."""

from __future__ import annotations

import math

import pytest
import torch

from goodness.exits.thresholds import NEVER, choose_thresholds, class_groups, exits_taken


def draw(exits=3, count=300, classes=3, seed=0):
    """Answers that are right more often the surer they are, and the later."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (count,), generator=g)
    sure = torch.rand(exits, count, generator=g).mul(20).round().div(20)  # with equals
    chance = torch.rand(exits, count, generator=g)
    right = chance < 0.3 + 0.6 * sure + 0.1 * torch.arange(exits)[:, None]
    wrong = (y + torch.randint(1, classes, (exits, count), generator=g)) % classes
    return sure, torch.where(right, y, wrong), y


def reference(sure, answers, y, margin, support, classes):
    """Exit by exit, class by class, threshold by threshold."""
    exits, count = answers.shape
    stays, found = set(range(count)), []

    def precision(rows, index):
        return sum(int(answers[index, n] == y[n]) for n in rows) / len(rows)

    for index in range(exits - 1):
        row = []
        for c in range(classes):
            full = precision([n for n in range(count) if answers[-1, n] == c], -1)
            target = min(full - margin, 1)
            best = math.inf
            for t in sorted({float(sure[index, n]) for n in stays}):
                rows = [n for n in stays if answers[index, n] == c and sure[index, n] >= t]
                if len(rows) >= support and precision(rows, index) >= target:
                    best = t
                    break
            row.append(best)
        found.append(row)
        stays -= {n for n in stays if sure[index, n] >= row[int(answers[index, n])]}
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("margin", [-0.6, -0.05, 0.0, 0.3])
@pytest.mark.parametrize("support", [1, 12])
def test_thresholds_are_those_of_the_rule(margin, support):
    sure, answers, y = draw()
    options = {"margin": margin, "support": support, "classes": 3}
    found = choose_thresholds(sure, answers, y, **options)
    torch.testing.assert_close(found, reference(sure.double(), answers, y, **options))


def test_a_larger_margin_lets_more_leave():
    sure, answers, y = draw()
    shares = []
    for margin in (-0.1, 0.0, 0.1, 0.3, 1.0):
        thresholds = choose_thresholds(sure, answers, y, margin=margin, support=5, classes=3)
        shares.append((exits_taken(sure, answers, thresholds) < 2).float().mean().item())
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert shares[0] < 0.9


def test_rare_classes_are_judged_together():
    answers = torch.tensor([0] * 5 + [1] * 2 + [2] * 5 + [3] * 3)
    assert class_groups(answers, 5, 4).tolist() == [0, 1, 2, 1, 1]
    assert class_groups(answers, 5, 1).tolist() == [0, 1, 2, 3, 4]
    sure = torch.stack([torch.full((15,), 0.9)] * 2)
    both = torch.stack([answers, answers])
    found = choose_thresholds(sure, both, answers, margin=0.0, support=4, classes=5)
    assert found[0].tolist() == pytest.approx([0.9] * 5)
    # Five answers in the group are too few.
    found = choose_thresholds(sure, both, answers, margin=0.0, support=6, classes=5)
    assert found[0].tolist() == pytest.approx([0.9] * 5)  # all classes in one group
    assert (choose_thresholds(sure, both, answers, margin=0, support=16, classes=5) == NEVER).all()


def test_an_image_leaves_at_the_first_exit_that_is_sure_enough():
    sure = torch.tensor([[0.9, 0.4, 0.4, 0.9], [0.1, 0.9, 0.4, 0.9], [0.1, 0.1, 0.1, 0.1]])
    answers = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]])
    thresholds = torch.tensor([[0.8, NEVER], [0.5, 0.95]])
    assert exits_taken(sure, answers, thresholds).tolist() == [0, 1, 2, 2]
