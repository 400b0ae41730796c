"""A network answers as any `nn.Module` does."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from goodness import InputError, localize
from goodness.methods import METHODS
from helpers import SMALL, copied, learner_of, random_batch, same, tiny_network

SHAPE = (3, 8, 8)

methods = pytest.mark.parametrize("method", METHODS.names())


def trained(method, **values):
    """A network whose readouts are not all zero."""
    network = tiny_network(method, SHAPE, model=SMALL, **values)
    learner = learner_of(network, (2, 2))
    for step in range(4):
        learner.step(*random_batch(8, SHAPE, seed=step))
    return network


@methods
def test_a_call_gives_the_scores_of_the_readout_that_answers(method):
    network = trained(method).eval()
    x, _ = random_batch(5, SHAPE)
    for name in network.readouts:
        network.readout = name
        scores = network(x)
        assert scores.shape == (5, 4)
        torch.testing.assert_close(scores, network.scores(x, name))
        assert torch.equal(network.predict(x), scores.argmax(1))


@methods
def test_a_saliency_map_reaches_the_pixels(method):
    network = trained(method).eval()
    x = random_batch(3, SHAPE)[0].requires_grad_()
    for name in network.readouts:
        network.readout = name
        (gradient,) = torch.autograd.grad(network(x)[range(3), network.predict(x)].sum(), x)
        assert torch.isfinite(gradient).all()
        # Least squares with as many features as rows may not depend on a pixel, but on some.
        assert gradient.abs().sum() > 0, name


@methods
def test_exits_are_the_totals_at_every_depth_and_features_what_each_block_gives_on(method):
    network = trained(method).eval()
    x, _ = random_batch(5, SHAPE)
    exits, found = network.exits(x), network.evaluate(x)

    assert exits.shape == (len(network), 5, 4)
    torch.testing.assert_close(exits[-1], network(x))
    for depth, total in enumerate(found.readouts[network.readout]):
        expected = found.blocks[depth] if total is None else total
        if expected is None:
            assert exits[depth].isnan().all()
        else:
            torch.testing.assert_close(exits[depth], expected)
    features = network.features(x)
    assert [f.shape[1:] for f in features] == [block.spec.output for block in network]


@methods
def test_no_mode_is_changed_and_no_statistic_moved(method):
    network = trained(method)
    network[1].eval()
    modes = {name: part.training for name, part in network.named_modules()}
    before = copied(network.state_dict())
    x, _ = random_batch(5, SHAPE)
    network.predict(x)
    network.scores(x)
    network.evaluate(x)

    assert modes == {name: part.training for name, part in network.named_modules()}
    assert same(before, network.state_dict())


@methods
def test_it_exports_with_a_dynamic_batch_to_the_same_scores(method):
    network = trained(method).eval()
    batch = torch.export.Dim("batch", min=1)
    example = random_batch(5, SHAPE)[0]
    program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))

    for count in (1, 2, 7):
        x, _ = random_batch(count, SHAPE, seed=count)
        assert torch.equal(program.module()(x), network(x))


def test_it_holds_nothing_that_trains():
    network = tiny_network(epochs=1, steps_per_epoch=2)
    before = set(vars(network))
    learner_of(network).step(*random_batch(8))

    assert set(vars(network)) == before
    assert not hasattr(network, "step")
    copy.deepcopy(network)(random_batch(2)[0])


def test_a_fresh_network_is_in_training_mode_and_a_user_s_keeps_its_own():
    assert all(part.training for part in tiny_network().modules())
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model[1].eval()
    localize(model, num_classes=4, image_shape=SHAPE)
    assert [part.training for part in model] == [True, False, True, True]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, 9, 9), r"images of \(3, 9, 9\): the network takes \(3, 8, 8\)"),
        (torch.zeros(3, 8, 8), r"images of \(8, 8\): the network takes"),
        (torch.zeros(0, 3, 8, 8), "a batch of no images"),
        (torch.zeros(2, 3, 8, 8).byte(), "images of torch.uint8: the network takes preprocessed"),
    ],
)
def test_bad_images(images, message):
    with pytest.raises(InputError, match=message) as error:
        tiny_network(shape=SHAPE).predict(images)
    assert "\n" not in str(error.value)


def test_a_readout_that_is_not_there():
    network = tiny_network(shape=SHAPE)
    with pytest.raises(InputError, match="unknown readout 'fusoin'; did you mean 'fusion'"):
        network.predict(torch.zeros(1, *SHAPE), "fusoin")
    network.readout = "nope"
    with pytest.raises(InputError, match="unknown readout 'nope'"):
        network(torch.zeros(1, *SHAPE))
    without = tiny_network(shape=SHAPE, readouts={})
    without._readouts = nn.ModuleDict()
    with pytest.raises(InputError, match="no readout"):
        without(torch.zeros(1, *SHAPE))


def test_autocast_outside_does_not_reach_into_the_blocks():
    network = tiny_network(shape=SHAPE).eval()
    x, _ = random_batch(4, SHAPE)
    expected = network.features(x)[-1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.features(x)[-1], expected)
        assert network.scores(x).dtype is torch.float32


@methods
@pytest.mark.parametrize("ask", ["forward", "exits"])
def test_flips_at_test_answer_with_the_mean_of_both_ways(method, ask):
    network = trained(method, flip_test=True).eval()
    plain = trained(method).eval()
    plain.load_state_dict(network.state_dict())
    x, _ = random_batch(5, SHAPE)

    found = getattr(network, ask)(x)

    one, other = (getattr(plain, ask)(images) for images in (x, x.flip(3)))
    expected = (one + other) / 2
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert torch.equal(network.predict(x), network(x).argmax(1))
    both = zip(network.evaluate(x).blocks, plain.evaluate(x).blocks, strict=True)
    assert all((own is None) == (other is None) for own, other in both)
    torch.testing.assert_close(network(x), network(x.flip(3)))
    assert not torch.allclose(plain(x), plain(x.flip(3)))


def test_flips_at_test_are_no_part_of_training():
    one, other = (trained("sff", flip_test=flip) for flip in (False, True))

    assert same(one.state_dict(), other.state_dict())


def test_a_network_with_a_frame_exports_to_the_same_scores():
    model = {**SMALL, "whiten": 2, "activation": "gelu", "order": "conv-pool-norm-act"}
    network = tiny_network("sff", SHAPE, model={**model, "norm": "batch"}, flip_test=True)
    learner_of(network, (2, 2)).step(*random_batch(8, SHAPE))
    network.eval()
    batch = torch.export.Dim("batch", min=1)
    example = random_batch(5, SHAPE)[0]
    program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))

    x, _ = random_batch(7, SHAPE, seed=1)
    assert torch.equal(program.module()(x), network(x))


def asking(monkeypatch, classes, **values):
    """A network whose method asks about every class, and how many rows each walk had."""
    network = tiny_network("ff", SHAPE, classes, **values).eval()
    with torch.no_grad():
        for value in network.readouts["fusion"].parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    rows, walk = [], type(network).walk

    def counted(self, x, *given, **options):
        rows.append(len(x))
        return walk(self, x, *given, **options)

    monkeypatch.setattr(type(network), "walk", counted)
    return network, rows


def test_of_many_classes_a_method_that_asks_about_each_answers_in_one_pass(monkeypatch):
    network, rows = asking(monkeypatch, 21)
    x, _ = random_batch(3, SHAPE)
    found = network.evaluate(x)
    assert network.readout == "fusion"
    assert found.readouts.keys() == {"fusion"}
    assert found.blocks == [None, None]
    assert torch.equal(network.predict(x), found.final("fusion").argmax(1))
    assert rows == [3, 3]
    whole = network.evaluate(x, ["fusion", "sum"])
    assert torch.equal(whole.final("fusion"), found.final("fusion"))
    assert whole.final("sum").shape == (3, 21)
    assert rows == [3, 3, 3 * 21, 3]


def test_who_wants_every_class_asked_gets_it(monkeypatch):
    x, _ = random_batch(3, SHAPE)
    for classes, values in ((20, {}), (21, {"readout": "sum"})):
        network, _ = asking(monkeypatch, classes, **values)
        assert network.evaluate(x).readouts.keys() == {"fusion", "sum"}
    # A run of before may answer so.
    network, rows = asking(monkeypatch, 21)
    network.readout = "sum"
    assert network.evaluate(x).readouts.keys() == {"fusion", "sum"}
    assert rows == [3 * 21, 3]
