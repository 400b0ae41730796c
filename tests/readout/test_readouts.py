"""Totals over the blocks, against plain loops."""

from __future__ import annotations

import pytest
import torch

from goodness.readout import READOUTS
from helpers import copied, learner_of, random_batch, same, spec_of, tiny_network

SHAPES = [(4, 6, 6), (5, 3, 3), (6, 3, 3)]
SPECS = [spec_of(shape, index=i, count=3, widest=6) for i, shape in enumerate(SHAPES)]
Y = torch.tensor([0, 2])


@pytest.fixture
def scores():
    torch.manual_seed(0)
    return [torch.randn(2, 3) for _ in SHAPES]


@pytest.fixture
def outputs():
    torch.manual_seed(1)
    return [torch.randn(2, *shape) for shape in SHAPES]


def totals(readout, scores, outputs):
    given = enumerate(zip(scores, outputs, strict=True))
    return readout([readout.extract(i, a, x) for i, (a, x) in given])


def make(name, specs=SPECS, **options):
    torch.manual_seed(2)
    return READOUTS.make({"name": name, **options}, specs)


def cross_entropy(total):
    return -total.log_softmax(1)[[0, 1], Y].mean()


def slow_map(linear, output):
    """One linear map of the means over the map, number by number."""
    rows = []
    for image in output.tolist():
        means = [sum(map(sum, channel)) / sum(map(len, channel)) for channel in image]
        rows.append(
            [
                sum(w * m for w, m in zip(weights, means, strict=True)) + bias
                for weights, bias in zip(linear.weight.tolist(), linear.bias.tolist(), strict=True)
            ]
        )
    return torch.tensor(rows)


def test_last_answers_with_the_deepest_scores(scores, outputs):
    for total, expected in zip(totals(make("last"), scores, outputs), scores, strict=True):
        assert torch.equal(total, expected)


def test_sum_adds_the_scores_up_to_every_depth(scores, outputs):
    expected = torch.zeros(2, 3)
    for own, total in zip(scores, totals(make("sum"), scores, outputs), strict=True):
        expected = expected + own
        torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("blocks", [1, 2, 3, 9])
def test_the_last_blocks_answer_with_the_product_of_their_probabilities(blocks, scores, outputs):
    found = totals(make("last", blocks=blocks), scores, outputs)

    first = max(3 - blocks, 0)
    for depth, total in enumerate(found):
        expected = torch.ones(2, 3)
        for own in scores[min(first, depth) : depth + 1]:
            expected = expected * own.softmax(1)
        expected = expected / expected.sum(1, keepdim=True)
        torch.testing.assert_close(total.softmax(1), expected)


@pytest.mark.parametrize("name", ["last", "sum"])
def test_blocks_without_scores_are_left_out(name, scores, outputs):
    found = totals(make(name), [None, scores[1], None], outputs)

    assert found[0] is None
    assert torch.equal(found[1], scores[1])
    assert torch.equal(found[2], scores[1])


def test_fusion_adds_a_linear_map_of_every_block_but_the_first(scores, outputs):
    readout = make("fusion", skip=1)
    assert [m.in_features for m in readout.maps] == [5, 6]

    found = totals(readout, scores, outputs)

    second = slow_map(readout.maps[0], outputs[1])
    assert found[0] is None
    torch.testing.assert_close(found[1], second)
    torch.testing.assert_close(found[2], second + slow_map(readout.maps[1], outputs[2]))
    # All maps learn jointly, from the deepest total.
    torch.testing.assert_close(readout.loss(found, Y), cross_entropy(found[-1]))


def test_fusion_of_a_single_block_still_answers():
    (total,) = totals(make("fusion", SPECS[:1]), [None], [torch.randn(2, *SHAPES[0])])

    assert total.shape == (2, 3)


def test_probe_classifies_every_block_on_its_own(scores, outputs):
    readout = make("probe")
    found = totals(readout, [None] * 3, outputs)

    for linear, total, x in zip(readout.maps, found, outputs, strict=True):
        torch.testing.assert_close(total, slow_map(linear, x))
    torch.testing.assert_close(readout.loss(found, Y), sum(map(cross_entropy, found)))


@pytest.mark.parametrize("name", ["fusion", "probe"])
def test_no_gradient_of_a_trained_readout_reaches_the_blocks(name):
    def trained(readouts):
        network = tiny_network(readouts=readouts)
        before = copied(network.state_dict())
        learner_of(network).step(*random_batch(6))
        return before, network

    _, alone = trained({"last": {}})
    before, network = trained({"last": {}, name: {}})

    assert same(alone.blocks.state_dict(), network.blocks.state_dict())
    maps = network.readouts[name].maps.state_dict()
    assert all(not torch.equal(w, before[f"_readouts.{name}.maps.{k}"]) for k, w in maps.items())


def test_pool_sets_the_cells_per_side_and_is_clamped_to_the_map():
    readout = make("probe", pool=4)

    assert [m.in_features for m in readout.maps] == [4 * 16, 5 * 9, 6 * 9]
