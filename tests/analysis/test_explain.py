"""Class activation maps and goodness maps add up to the scores that they explain."""

from __future__ import annotations

import pytest
import torch
from matplotlib.image import imread

from goodness.analysis.explain import explain
from goodness.methods import METHODS
from goodness.reports.explanation import draw_explanation
from helpers import SMALL, tiny_network

IMAGE = (1, 8, 8)


def network(method, **values):
    return tiny_network(method, num_classes=3, model=SMALL, **values)


def image(seed=0):
    return torch.rand(IMAGE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_can_be_explained_and_drawn(method, tmp_path):
    net = network(method)
    readout = next(iter(net.readouts))

    found = explain(net, image(), readout)
    pixels = (image() * 255).to(torch.uint8)
    draw_explanation(found, pixels, ["one", "two", "three"], tmp_path / "a.png")

    answer = net.evaluate(image()[None])
    assert found.answer == int(answer.final(readout).argmax())
    assert found.probability == pytest.approx(float(answer.final(readout).softmax(1).max()))
    assert [view.name for view in found.blocks] == net.names
    for view, block, scores in zip(found.blocks, net, answer.blocks, strict=True):
        assert view.goodness.shape == block.spec.features[1:]
        assert (view.goodness >= 0).all()
        assert (view.own_map is None) == (scores is None or block.objective is None)
    assert imread(tmp_path / "a.png").std() > 0


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_a_linear_readout_s_map_averages_to_its_score(pool):
    net = network("backprop", readouts={"probe": {"pool": pool}})
    found = explain(net, image(), "probe")
    net.eval()
    x = net.query_rows(image()[None])
    for index, (view, block) in enumerate(zip(found.blocks, net, strict=True)):
        x = block(x)
        linear = net.readouts["probe"].maps[index]
        score = linear(torch.nn.functional.adaptive_avg_pool2d(x, pool).flatten(1))
        share = score[0, found.answer] - linear.bias[found.answer]
        torch.testing.assert_close(view.readout_map.mean(), share)


def test_a_block_s_own_map_adds_up_to_its_score_where_the_score_is_linear():
    net = network("mono-forward", readout="last")
    found = explain(net, image(), "last")

    for view in found.blocks:
        torch.testing.assert_close(view.own_map.sum(), view.scores[found.answer])


def test_squares_count_twice_in_the_first_order():
    """ASGE's score is quadratic: gradient times features is twice the score but for its bias."""
    net = network("asge-fast")
    found = explain(net, image(), "last")

    for view, block in zip(found.blocks, net, strict=True):
        objective = block.objective
        score = view.scores[found.answer] - objective.bias[found.answer] * objective.scale
        torch.testing.assert_close(view.own_map.sum(), 2 * score)


@pytest.mark.parametrize("name", [r"$\frac$", "caf\udce9"])
def test_class_names_are_no_formulas_and_need_not_be_utf_8(name, tmp_path):
    found = explain(network("ff-cnn"), image(), "sum")
    pixels = (image() * 255).to(torch.uint8)
    draw_explanation(found, pixels, [name] * 3, tmp_path / "a.png")
    assert imread(tmp_path / "a.png").std() > 0


def test_candidate_labels_are_the_rows_that_were_asked():
    net = network("ff-cnn")
    found = explain(net, image(), "sum")

    torch.testing.assert_close(found.candidates, net.query_rows(image()[None]))
    assert explain(network("asge-fast"), image(), "last").candidates is None
