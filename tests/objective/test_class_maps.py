"""SFF's class maps against their formula."""

from __future__ import annotations

import pytest
import torch
from formulas import Y, agree, draw, each, make


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("grid", [None, 2, 4, 7])
def test_log_sum_exp_margin_of_mean_squares(kernel, margin, grid):
    objective = make("class-maps", kernel=kernel, margin=margin, grid=grid)

    def scores(row):
        if grid == 2:
            row = torch.stack([row[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]).mean(0)
        side = row.shape[-1]
        padded = torch.nn.functional.pad(row, [kernel // 2] * 4)
        found = []
        for k in range(3):
            squares = []
            for i in range(side):
                for j in range(side):
                    patch = padded[:, i : i + kernel, j : j + kernel]
                    q = (objective.conv.weight[k] * patch).sum() + objective.conv.bias[k]
                    squares.append(q**2)
            found.append(sum(squares) / side**2)
        return found

    def loss(row, label):
        s = scores(row)
        wrong = [torch.exp(s[k] - s[label] + margin) for k in range(3) if k != label]
        return torch.log(1 + sum(wrong))

    h = draw()
    agree(objective, h, Y, each(loss))
    expected = torch.stack([torch.stack(scores(row)) for row in h])
    torch.testing.assert_close(objective.scores(h), expected)
    torch.testing.assert_close(objective.maps(h).mean((2, 3)), objective.scores(h))
