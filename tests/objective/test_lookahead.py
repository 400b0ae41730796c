"""Heads of copied layers: against the layers applied by hand, and how they follow the network."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from goodness import InputError, Learner, audit, build, localize
from goodness.clock import Clock
from goodness.methods import Locality
from goodness.objective.lookahead import sampled
from helpers import copied, learner_of, random_batch, same

MODEL = {"name": "small-cnn", "widths": [6, 8, 10], "pools": [1], "norm": "batch", "pool": "max"}
IMAGE = (2, 8, 8)
DECAY = 0.75


def make(method="lookahead", **values):
    given = {"model": MODEL, "partition": "layer", **values}
    return build(method, image_shape=IMAGE, num_classes=3, **given)


def batch(step=0):
    return random_batch(8, IMAGE, 3, seed=step)


def layer(x, state, place, number):
    """Convolution, batch norm and ReLU number ``number`` of evaluation mode, by hand."""
    x = F.conv2d(x, state[f"{place}.conv{number}.weight"], padding=1)

    def norm(what):
        return state[f"{place}.norm{number}.{what}"][:, None, None]

    x = (x - norm("running_mean")) / (norm("running_var") + 1e-5).sqrt()
    return (x * norm("weight") + norm("bias")).clamp(min=0)


def linear(x, state, place):
    """A linear map of the mean over pixels."""
    return x.mean((2, 3)) @ state[f"{place}.weight"].T + state[f"{place}.bias"]


@pytest.mark.parametrize("shrink", [1, 2])
@pytest.mark.parametrize("average", [None, DECAY])
def test_scores_are_those_of_the_next_layer_s_copies(shrink, average):
    network = make(objective={"shrink": shrink, "average": average})
    learner = learner_of(network)
    for step in range(3):
        learner.step(*batch(step))
    network.eval()
    x, state = batch(9)[0], network.state_dict()
    with torch.no_grad():
        found = network.outputs(x).blocks
        value = layer(x, state, "blocks.0.body", 1)
        taken = F.avg_pool2d(F.max_pool2d(value, 2), shrink)
        copies = ["trained", "averaged"] if average else ["trained"]
        ahead = sum(layer(taken, state, f"blocks.0.objective.{c}.0.layers", 2) for c in copies)
        first = linear(ahead, state, "blocks.0.objective.head.2")
        value = layer(F.max_pool2d(value, 2), state, "blocks.1.body", 2)
        value = layer(value, state, "blocks.2.body", 3)
        last = linear(value, state, "blocks.2.objective.last.linear")

    torch.testing.assert_close(found[0], first)
    torch.testing.assert_close(found[2], last)


def test_the_average_follows_the_next_block_s_weights():
    network = make(objective={"average": DECAY})
    names = ["conv2.weight", "norm2.weight", "norm2.bias"]
    expected = {name: network[1].body.get_parameter(name).detach().clone() for name in names}
    learner = learner_of(network)
    for step in range(3):
        learner.step(*batch(step))
        for name in names:
            now = network[1].body.get_parameter(name).detach()
            expected[name] = DECAY * expected[name] + (1 - DECAY) * now
            found = network.get_parameter(f"blocks.0.objective.averaged.0.layers.{name}")
            torch.testing.assert_close(found.detach(), expected[name])
            assert found.grad is None
            assert not torch.equal(found, now)


def test_what_does_not_learn_does_not_follow():
    network = make("man", plan="sequential")
    learner = learner_of(network, (4, 3))
    learner.steps = 4  # the second block's turn
    before = copied(network[0].state_dict())
    learner.step(*batch())

    assert same(network[0].state_dict(), before)


@pytest.mark.parametrize("method", ["man", "lookahead", "auglocal"])
def test_later_layers_are_copied_and_not_kept(method):
    network = make(method)
    later = {p.data_ptr() for p in network[1].body.parameters()}

    assert all(block.spec.later is None for block in network)
    assert not later & {p.data_ptr() for p in network[0].parameters()}
    own = {name for name in network.state_dict() if ".body." in name}
    assert own == {n for n in make("bwbpf").state_dict() if ".body." in n}
    twin = pickle.loads(pickle.dumps(network))
    for learner in (learner_of(twin), learner_of(network)):
        learner.step(*batch())
    assert same(twin.state_dict(), network.state_dict())


def test_a_resumed_learner_goes_on_bit_for_bit():
    through, stopped = make("man"), make("man")
    learner, other = learner_of(through), learner_of(stopped)
    for step in range(6):
        learner.step(*batch(step))
    for step in range(3):
        other.step(*batch(step))
    resumed = make("man", seed=1)
    resumed.load_state_dict(copied(stopped.state_dict()))
    again = learner_of(resumed)
    again.load_state_dict(copy.deepcopy(other.state_dict()))
    resumed.noise_seed = stopped.noise_seed
    for step in range(3, 6):
        again.step(*batch(step))

    assert same(resumed.state_dict(), through.state_dict())


def test_the_last_block_learns_by_the_model_s_own_classifier():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    network = localize(model, "lookahead", 2, image_shape=IMAGE)
    before = copied(model.state_dict())
    learner_of(network).step(*batch())

    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    network.eval()
    x = batch(1)[0]
    torch.testing.assert_close(network(x), model.eval()(x))


def test_blocks_cut_by_hand_look_at_the_whole_next_one():
    blocks = [nn.Conv2d(2, 4, 3), nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()), nn.Conv2d(6, 8, 3)]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    network = localize([*blocks, head], "man", image_shape=IMAGE)
    learner_of(network).step(*batch())

    assert network[0].objective.averaged[0].layers.get_parameter("1.0.weight").shape[0] == 6


@pytest.mark.parametrize(
    "model",
    [
        "torchvision/resnet18",
        "torchvision/mobilenet_v3_small",
        pytest.param("timm/resnet18", marks=pytest.mark.slow),
        pytest.param("torchvision/vgg11", marks=pytest.mark.slow),
        pytest.param("torchvision/densenet121", marks=pytest.mark.slow),
        pytest.param("torchvision/swin_t", marks=pytest.mark.slow),
        pytest.param("timm/convnext_atto", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("method", ["lookahead", "man", "auglocal"])
def test_backbones_have_heads_of_their_own_layers(model, method):
    network = build(method, image_shape=(3, 32, 32), num_classes=3, model=model, partition=3)
    report = learner_of(network).step(*random_batch(4, (3, 32, 32), 3))

    assert len(network) == 3
    assert all(bool(torch.isfinite(loss)) for loss in report.losses)
    assert all(scores.shape == (4, 3) for scores in report.scores)


def test_tokens_are_looked_at_with_all_that_come_with_them():
    size = {"name": "timm/vit_tiny_patch16_224", "args": {"img_size": 32}}
    network = build("man", image_shape=(3, 32, 32), num_classes=3, model=size, partition=3)
    learner_of(network).step(*random_batch(4, (3, 32, 32), 3))

    assert network[0].spec.features == (192, 5, 1)  # four patches and the class token


def test_layers_that_take_one_size_alone_get_it():
    model = {**MODEL, "widths": [4, 6], "pools": [1, 2], "name": "cnn", "dense": [10]}
    network = make(objective={"shrink": 2}, model=model)
    learner_of(network).step(*batch())

    averaged = [len(block.objective.trained[0].fit) for block in list(network)[:-1]]
    assert averaged == [1, 0]


def test_sampled_layers_are_spread_evenly_up_to_the_last():
    # round(n / d * i), counted from 1, as in the released code.
    assert sampled(15, 2) == [7, 14]
    assert sampled(54, 3) == [17, 35, 53]
    assert sampled(7, 4) == [1, 3, 4, 6]
    assert sampled(1, 4) == [0]
    for count in range(1, 12):
        for depth in range(1, 12):
            found = sampled(count, depth)
            assert found == sorted(set(found))
            assert len(found) == min(count, depth)
            assert found[-1] == count - 1


def test_sampled_layers_are_fewer_behind_and_adapted_to_what_comes():
    model = {**MODEL, "widths": [4, 6, 8, 10, 12, 14], "pools": [2, 4]}
    network = make("auglocal", objective={"depth": 3, "taper": 0.5}, model=model)
    copies = [block.objective.trained for block in list(network)[:-1]]

    # 3 at first, then 2.75, 2.5, 2.25 and 2 of as many as are left.
    kept = [[name for stage in own for name, _ in stage.layers.named_children()] for own in copies]
    convs = [[name for name in names if name.startswith("conv")] for names in kept]
    assert convs == [
        ["conv3", "conv4", "conv6"],
        ["conv3", "conv5", "conv6"],
        ["conv5", "conv6"],
        ["conv5", "conv6"],
        ["conv6"],
    ]
    first = copies[0][0]
    assert [type(part) for part in first.fit] == [nn.AdaptiveAvgPool2d, nn.Conv2d, nn.BatchNorm2d]
    assert first.fit[1].weight.shape == (6, 4, 1, 1)


@pytest.mark.parametrize(("average", "found"), [(None, Locality.LAYER), (0.9, Locality.BROADCAST)])
def test_an_average_is_heard_without_a_gradient(average, found):
    assert audit(make(objective={"average": average})).locality == found


def test_a_window_learns_from_both_losses_and_leaves_the_next_block_as_it_is():
    network = make("hpff", optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.0})
    twin, before = copy.deepcopy(network), copied(network.state_dict())
    x, y = batch()
    learner = learner_of(network)
    first, second, third = ((turn.blocks, *_learnt(turn, network)) for turn in learner.turns(x, y))

    twin.train()
    value = twin[0].body(x)
    own = F.cross_entropy(twin[0].scores(value), y)
    value = twin[1].body(twin[0].output(value))
    through = F.cross_entropy(twin[1].scores(value), y)
    parameters = dict(twin[0].named_parameters())
    gradients = torch.autograd.grad(own + through, list(parameters.values()))
    for name, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(first[1][f"blocks.0.{name}"], gradient)
    for place, (blocks, learnt, changed) in enumerate([first, second, third]):
        assert [block.name for block in blocks] == [network.names[place]]
        assert {name.split(".")[1] for name in [*learnt, *changed]} == {str(place)}
    after = network.state_dict()
    counts = [name for name in after if name.endswith("num_batches_tracked")]
    assert all(int(after[name]) == int(before[name]) + 1 for name in counts)
    assert all(parameter.requires_grad for parameter in network.parameters())


def _learnt(turn, network):
    """The gradients of a turn, and what of the network it changes."""
    before = copied(network.state_dict())
    turn.backward()
    learnt = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    turn.step()
    return learnt, [n for n, v in network.state_dict().items() if not torch.equal(v, before[n])]


@pytest.mark.parametrize("update", ["heads", "forward-gradient"])
def test_an_update_without_gradients_through_blocks_has_no_window(update):
    with pytest.raises(InputError, match=f"plan 'overlapping' .* '{update}' cannot"):
        make("hpff", update=update)


def test_a_window_of_two_behind_frozen_blocks():
    network = make("hpff", freeze_until="conv2")
    before = copied(network[0].state_dict())
    learner = Learner(network, run=Clock(0, 4, 2))
    report = learner.step(*batch())

    assert report.losses[0] is None
    assert same(network[0].state_dict(), before)
    assert [segment.through for segment in network.plan.segments()] == [range(2, 3), range(1, 1)]
