from __future__ import annotations

import pytest
import torch

from goodness.objective import BlockSpec
from goodness.readout import READOUTS

CLASSES = 3
SENT = [(4, 6, 6), (5, 3, 3), (6, 3, 3)]
SPECS = [BlockSpec(i, 3, CLASSES, sent, sent, sent, sent, 6) for i, sent in enumerate(SENT)]


@pytest.fixture
def scores():
    torch.manual_seed(0)
    return [torch.randn(2, CLASSES) for _ in SENT]


@pytest.fixture
def sent():
    torch.manual_seed(1)
    return [torch.randn(2, *shape) for shape in SENT]


def totals(readout, scores, sent):
    taken = [readout.extract(i, a, x) for i, (a, x) in enumerate(zip(scores, sent, strict=True))]
    return readout(taken)


def make(name, **options):
    torch.manual_seed(2)
    return READOUTS.make({"name": name, **options}, SPECS)


def slow_map(linear, sent):
    """One linear map of the means over the map, number by number."""
    rows = []
    for image in sent.tolist():
        means = [sum(map(sum, channel)) / sum(map(len, channel)) for channel in image]
        rows.append(
            [
                sum(w * m for w, m in zip(weights, means, strict=True)) + bias
                for weights, bias in zip(linear.weight.tolist(), linear.bias.tolist(), strict=True)
            ]
        )
    return torch.tensor(rows)


def test_last_answers_with_the_deepest_scores(scores, sent):
    for total, expected in zip(totals(make("last"), scores, sent), scores, strict=True):
        assert torch.equal(total, expected)


def test_last_skips_blocks_without_scores(scores, sent):
    found = totals(make("last"), [None, scores[1], None], sent)

    assert found[0] is None
    assert torch.equal(found[1], scores[1])
    assert torch.equal(found[2], scores[1])


def test_sum_adds_the_scores_up_to_every_depth(scores, sent):
    expected = torch.zeros(2, CLASSES)
    for own, total in zip(scores, totals(make("sum"), scores, sent), strict=True):
        expected = expected + own
        torch.testing.assert_close(total, expected)


def test_sum_skips_blocks_without_scores(scores, sent):
    found = totals(make("sum"), [None, scores[1], None], sent)

    assert found[0] is None
    assert torch.equal(found[1], scores[1])
    assert torch.equal(found[2], scores[1])


def test_fusion_adds_a_linear_map_of_every_block_but_the_first(scores, sent):
    readout = make("fusion", skip=1)
    assert [m.in_features for m in readout.maps] == [5, 6]

    found = totals(readout, scores, sent)

    second = slow_map(readout.maps[0], sent[1])
    assert found[0] is None
    torch.testing.assert_close(found[1], second)
    torch.testing.assert_close(found[2], second + slow_map(readout.maps[1], sent[2]))


def test_fusion_learns_all_maps_jointly_from_the_deepest_total(scores, sent):
    readout = make("fusion", skip=1)
    y = torch.tensor([0, 2])

    found = totals(readout, scores, sent)
    loss = readout.loss(found, y)

    expected = -found[-1].log_softmax(1)[[0, 1], y].mean()
    torch.testing.assert_close(loss, expected)


def test_fusion_of_a_single_block_still_answers():
    torch.manual_seed(0)
    readout = READOUTS.make({"name": "fusion"}, SPECS[:1])

    (total,) = totals(readout, [None], [torch.randn(2, *SENT[0])])

    assert total.shape == (2, CLASSES)


def test_probe_judges_every_block_on_its_own(scores, sent):
    readout = make("probe")
    found = totals(readout, [None] * 3, sent)

    for linear, total, x in zip(readout.maps, found, sent, strict=True):
        torch.testing.assert_close(total, slow_map(linear, x))
    y = torch.tensor([0, 2])
    expected = sum(-total.log_softmax(1)[[0, 1], y].mean() for total in found)
    torch.testing.assert_close(readout.loss(found, y), expected)


@pytest.mark.parametrize("name", ["fusion", "probe"])
def test_no_gradient_of_a_trained_readout_reaches_the_blocks(name, sent):
    readout = make(name, skip=0)
    inputs = [x.requires_grad_() for x in sent]

    readout.loss(totals(readout, [None] * 3, inputs), torch.tensor([0, 1])).backward()

    assert all(x.grad is None for x in inputs)
    assert all(p.grad is not None for p in readout.parameters())


def test_pool_sets_the_cells_per_side_and_is_clamped_to_the_map():
    readout = make("probe", pool=4)

    assert [m.in_features for m in readout.maps] == [4 * 16, 5 * 9, 6 * 9]
