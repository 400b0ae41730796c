"""Self-Contrastive Forward-Forward's loss against its formula."""

from __future__ import annotations

import pytest
import torch
from formulas import agree, block, draw, make

Y = torch.tensor([0, 2, 1])


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(("index", "low", "high"), [(0, 0.5, 1.0), (1, 5.0, 9.0), (2, 5.0, 9.0)])
def test_two_thresholds(index, low, high, decay):
    levels = [[0.5, 1.0], [5.0, 9.0]]
    objective = make("self-contrast", block((3, 2, 2), index=index), levels=levels, decay=decay)

    def reference(z):
        losses = []
        for place, row in enumerate(z):
            terms, squares = [], []
            for i in range(2):
                for j in range(2):
                    y = sum(row[c, i, j] ** 2 for c in range(3)) / 3
                    difference = low - y if place < 3 else y - high
                    terms.append(torch.log(1 + torch.exp(difference)))
                    squares.append(y**2)
            losses.append(sum(terms) / 4 + decay * torch.sqrt(sum(squares)))
        return losses

    agree(objective, draw(6, (3, 2, 2)), Y, reference)
