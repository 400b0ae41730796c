"""What a block is taught, against what is known of it beforehand."""

from __future__ import annotations

import math

import pytest
import torch

import goodness
from goodness.errors import InputError
from goodness.functional import effective_rank
from goodness.methods import METHODS
from goodness.results import weaker_blocks

SHAPE = {"image_shape": (1, 8, 8), "num_classes": 4}
CHAIN = {"name": "cnn", "widths": [12, 16], "pools": [1], "norm": "batch"}


def batch(count=32, seed=0):
    torch.manual_seed(seed)
    return torch.randn(count, 1, 8, 8), torch.randint(4, (count,))


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_effective_rank_is_the_entropy_of_singular_values(scale):
    torch.manual_seed(0)
    matrix = torch.randn(30, 7) @ torch.diag(torch.tensor([9.0, 4, 2, 1, 0.5, 0, 0]))

    values = torch.linalg.svdvals(matrix.double())
    share = values / values.sum()
    expected = math.exp(-sum(float(p) * math.log(p) for p in share if p > 1e-12))

    assert effective_rank(scale * matrix) == pytest.approx(expected, rel=1e-3)
    assert effective_rank((scale * matrix).T) == pytest.approx(expected, rel=1e-3)
    assert effective_rank(torch.zeros(5, 3)) == 0


@pytest.mark.parametrize("pool", [1, 2])
def test_a_pooled_linear_head_teaches_with_no_more_directions_than_its_rows(pool):
    objective = {"name": "classifier", "pool": pool}
    network = goodness.build("mono-forward", model=CHAIN, objective=objective, **SHAPE)

    found = goodness.diagnose(network, *batch())

    ranks = [block.signal_rank for block in found]
    assert all(1 < rank <= (4 - 1) * pool**2 + 1e-6 for rank in ranks)
    if pool > 1:  # untied cells teach more than one could
        assert max(ranks) > 3


def test_the_signal_is_the_gradient_of_the_loss_by_the_features():
    network = goodness.build("mono-forward", model=CHAIN, **SHAPE).eval()
    images, y = batch()
    h = network[0].body(images).detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(network[0].objective.scores(h), y)
    (gradient,) = torch.autograd.grad(loss, [h])
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, 12)

    found = goodness.diagnose(network, images, y)

    assert found[0].signal_rank == pytest.approx(effective_rank(rows), rel=1e-4)


def test_backprop_teaches_every_block_through_the_later_ones():
    network = goodness.build("backprop", model=CHAIN, **SHAPE)

    found = goodness.diagnose(network, *batch())

    assert all(block.signal_rank is not None for block in found)


def test_the_next_block_s_loss_teaches_where_the_plan_says_so():
    def signal_of(plan):
        network = goodness.build("mono-forward", model=CHAIN, plan=plan, **SHAPE)
        return [block.signal_rank for block in goodness.diagnose(network, *batch())]

    alone, through = signal_of("together"), signal_of("overlapping")

    assert through[0] != pytest.approx(alone[0], rel=1e-5)
    assert through[1] == pytest.approx(alone[1], rel=1e-4)


def test_channels_that_never_change_are_dead():
    network = goodness.build("mono-forward", model=CHAIN, **SHAPE)
    norm = network[0].body.norm1
    with torch.no_grad():
        norm.weight[:5] = 0
        norm.bias[:5] = -1

    found = goodness.diagnose(network, *batch())

    assert [block.dead_channels for block in found] == [5, 0]
    assert [block.channels for block in found] == [12, 16]


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_can_be_looked_at_and_is_left_as_it_was(method):
    network = goodness.build(
        method, image_shape=(1, 16, 16), num_classes=4, epochs=1, steps_per_epoch=2
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, y = torch.randn(8, 1, 16, 16), torch.arange(8) % 4

    found = goodness.diagnose(network, images, y)

    assert [block.name for block in found] == network.names
    assert all(1 <= b.feature_rank <= b.channels + 1e-6 for b in found if b.feature_rank)
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_labels_of_another_number_are_refused():
    network = goodness.build("mono-forward", model=CHAIN, **SHAPE)
    images, y = batch()

    with pytest.raises(InputError, match="one for each of the 32"):
        goodness.diagnose(network, images, y[:3])


def test_a_block_is_weaker_where_two_standard_errors_say_so():
    assert weaker_blocks([0.7, 0.71, 0.705, None, 0.6, 0.68], 5000) == [4, 5]
    assert weaker_blocks([0.7, 0.6], 20) == []
