"""Running the network block by block, with images that have left dropped."""

from __future__ import annotations

import pytest
import torch

from goodness.exits.cost import flops_until
from goodness.exits.passage import Exit, Passage, answer_early
from goodness.methods import METHODS
from goodness.modes import evaluating
from helpers import SMALL, learner_of, random_batch, tiny_network

SURE = torch.zeros(4)
NEVER = torch.full((4,), float("inf"))


def network_of(method, **values):
    network = tiny_network(method, model={**SMALL, "norm": "batch"}, **values)
    images, y = random_batch(8)
    learner_of(network, (4, 2)).step(images, y)
    return network, images


def exits_of(network, images):
    return network.evaluate(images).exits(network.chosen_readout())


@pytest.mark.parametrize("method", METHODS.names())
def test_every_exit_says_what_the_network_says_there(method):
    network, images = network_of(method)
    for readout in network.readouts:
        network.readout = readout
        expected = exits_of(network, images)
        asked = [index for index, scores in enumerate(expected) if scores is not None]
        with torch.no_grad(), evaluating(network):
            passage = Passage(network, images, asked)
            found = [passage.advance() for _ in network]
            # Asked for one exit alone it leaves out heads, and says the same.
            alone = Passage(network, images, [asked[-1]])
            *none, last = [alone.advance() for _ in network]
        assert not any(scores is not None for scores in none)
        torch.testing.assert_close(last, expected[-1])
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("method", "readout"),
    [
        ("spectral-local", "last"),
        ("asge-fast", "sum"),
        ("ff", "sum"),
        ("ff", "fusion"),
        ("backprop", "last"),
    ],
)
@pytest.mark.parametrize("flip_test", [False, True])
def test_dropping_the_others_changes_no_answer(method, readout, flip_test):
    network, images = network_of(method, flip_test=flip_test)
    network.readout = readout
    scores = exits_of(network, images)
    middle = len(network) // 2
    # Half of the images is sure enough in the middle.
    sure = (scores[middle] / 2).softmax(1).amax(1)
    threshold = torch.full((4,), float(sure.median()))
    last = len(network) - 1
    exits = {middle: Exit(2.0, threshold), last: Exit(0.5, SURE)}
    seen = []
    hook = network[last].body.register_forward_hook(lambda m, given, out: seen.append(len(out)))
    found = answer_early(network, images, exits)
    hook.remove()

    leaves = sure >= threshold[0]
    assert 0 < leaves.sum() < len(images)
    assert found.left.tolist() == torch.where(leaves, middle, last).tolist()
    expected = torch.where(leaves[:, None], scores[middle] / 2, scores[last] / 0.5)
    torch.testing.assert_close(found.scores, expected, rtol=1e-4, atol=1e-5)
    stays = int((~leaves).sum())
    # By a readout with weights every image is seen once, with a neutral label.
    trained = network.readouts[network.readout].trainable
    rows = stays if trained else stays * network.presentation.queries
    assert seen == [rows] * (2 if flip_test else 1)


def test_blocks_that_are_added_up_are_all_computed():
    network, images = network_of("spectral-local", readouts={"last": {"blocks": 2}})
    expected = exits_of(network, images)
    for asked in ([2], [1, 2], [0, 2]):
        with torch.no_grad(), evaluating(network):
            passage = Passage(network, images, asked)
            found = [passage.advance() for _ in network]
        for index in asked:
            torch.testing.assert_close(found[index], expected[index])


def test_nothing_runs_behind_the_block_where_all_have_left():
    network, images = network_of("asge-fast")
    network[1].body.register_forward_hook(lambda *_: pytest.fail("a block has run"))
    first, last = Exit(1.0, SURE), Exit(1.0, SURE)
    found = answer_early(network, images, {0: first, 2: last})
    assert found.left.tolist() == [0] * len(images)
    assert torch.equal(
        found.scores, network_of("asge-fast")[0].evaluate(images).readouts[network.readout][0]
    )


def test_an_exit_that_nobody_takes_costs_its_head():
    network, _ = network_of("spectral-local")
    full = flops_until(network, (2,))
    assert full == sorted(full)
    early = flops_until(network, (0, 2))
    head = early[0] - full[0]
    # The head of 8 x 8 maps of 6 channels: 4 x 4 cells, 128 kernels on 2 x 2, a linear layer.
    assert head == 2 * (128 * 6 * 9 * 4 + 128 * 4 * 4)
    assert early[2] - full[2] == head
