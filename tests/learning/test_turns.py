"""The one training path, walked by hand."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from goodness import InputError, Learner, RunError
from goodness.methods import METHODS
from goodness.readout import Readout
from helpers import SMALL, copied, learner_of, random_batch, same, tiny_network

LENGTH = (4, 2)


def trained(method, walk, **values):
    network = tiny_network(method, model=SMALL, **values)
    learner = learner_of(network, LENGTH)
    for step in range(8):
        walk(learner, *random_batch(8, seed=step))
    return network.state_dict()


@pytest.mark.parametrize("method", METHODS.names())
def test_a_loop_of_one_s_own_learns_what_the_step_does(method):
    def by_hand(learner, x, y):
        for turn in learner.turns(x, y):
            turn.backward()
            torch.rand(3)  # whatever the user's code draws
            turn.step()

    assert same(trained(method, by_hand), trained(method, Learner.step))


def test_a_loop_of_one_s_own_is_told_blocks_and_losses():
    network = tiny_network("deep-supervision", model=SMALL)
    learner = learner_of(network, LENGTH)
    (turn,) = learner.turns(*random_batch(8))
    assert [block.name for block in turn.blocks] == network.names
    assert turn.block is network[2]

    names, losses = [], []
    for turn in learner_of(tiny_network(model=SMALL), LENGTH).turns(*random_batch(8)):
        names.append(turn.block.name)
        losses.append(turn.loss)  # asking for it runs the turn
        assert all(p.grad is not None for p in turn.block.parameters())
        turn.step()
        assert all(p.grad is None for p in turn.block.parameters())
    assert names == ["conv1", "conv2", "conv3"]
    assert all(loss.shape == () and not loss.requires_grad for loss in losses)


def test_batch_norms_learn_in_a_loop_of_one_s_own():
    network = tiny_network(model={**SMALL, "norm": "batch"})
    network.eval()
    for turn in learner_of(network, LENGTH).turns(*random_batch(8)):
        turn.learn()

    counts = [v for n, v in network.named_buffers() if n.endswith("num_batches_tracked")]
    assert counts
    assert all(int(count) == 1 for count in counts)


def test_a_turn_that_is_left_out_changes_nothing():
    network = tiny_network("mono-forward", model=SMALL, readouts={})
    before = copied(dict(network.named_parameters()))
    for turn in learner_of(network, LENGTH).turns(*random_batch(8)):
        if turn.block is not network[1]:
            turn.learn()

    moved = {
        n.split(".")[1] for n, p in network.named_parameters() if not torch.equal(p, before[n])
    }
    assert moved == {"0", "2"}


def over(steps):
    return pytest.warns(UserWarning, match=f"the run is over after {steps} steps")


@pytest.mark.parametrize("method", ["ff", "asge", "forward-gradient"])
def test_what_is_drawn_differs_at_every_step_also_behind_the_planned_end(method):
    """Negatives, dropout masks and directions: with equal ones a step would repeat itself."""
    values = {"boundary": {"name": "rms", "dropout": 0.5}} if method == "asge" else {}
    network = tiny_network(method, epochs=1, steps_per_epoch=2, lr=1e-9, **values)
    learner = Learner(network)
    rows = []
    network[1].body.register_forward_pre_hook(lambda m, inputs: rows.append(inputs[0].clone()))
    noise = []
    if method == "forward-gradient":
        weight = network[0].body[0].weight
        for optimizer in learner.optimizers.values():
            optimizer.register_step_pre_hook(
                lambda *_: None if weight.grad is None else noise.append(weight.grad.clone())
            )
    x, y = random_batch(8)
    for step in range(4):
        with over(2) if step == 2 else nullcontext():
            learner.step(x, y)

    seen = noise if method == "forward-gradient" else rows[-4:]
    assert len(seen) == 4
    for one in range(4):
        for other in range(one):
            assert not torch.equal(seen[one], seen[other])


def test_behind_the_planned_end_the_last_step_s_rate_stays():
    network = tiny_network(epochs=2, steps_per_epoch=5)
    learner, rates = Learner(network), []
    for step in range(11):
        with over(10) if step == 10 else nullcontext():
            learner.step(*random_batch(8))
        rates.append(learner.optimizers["0"].param_groups[0]["lr"])

    assert rates[0] < max(rates)
    assert rates[9] < max(rates) / 5
    assert rates[10] == rates[9]


class Meddling(Readout):
    """A readout that computes with a block's weights, which are not its own."""

    trainable = True

    def __init__(self, block):
        super().__init__([])
        self.scale = nn.Parameter(torch.ones(()))
        self.hidden = [block]

    def extract(self, index, scores, output):
        return scores

    def add(self, index, total, taken):
        weight = next(self.hidden[0].body.parameters())
        return taken * self.scale * weight.square().sum()


def test_a_readout_leaves_no_gradient_in_a_block():
    network = tiny_network("mono-forward", lr_schedule="constant")
    plain = tiny_network("mono-forward", lr_schedule="constant", readouts={})
    network._readouts = nn.ModuleDict({"meddling": Meddling(network[0])})
    learners = [learner_of(n, LENGTH) for n in (network, plain)]
    for step in range(3):
        for learner in learners:
            learner.step(*random_batch(8, seed=step))
        assert all(p.grad is None for p in network.parameters())

    assert network._readouts["meddling"].scale != 1
    assert same(network.blocks.state_dict(), plain.blocks.state_dict())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_images_that_are_not_finite_are_refused_and_leave_no_trace(value):
    network = tiny_network(model={**SMALL, "norm": "batch"})
    before = copied(network.state_dict())
    x, y = random_batch(8)
    x[3, 0, 2, 2] = value
    learner = learner_of(network, LENGTH)
    with pytest.raises(InputError, match="holds NaN or infinity"):
        learner.step(x, y)

    assert same(before, network.state_dict())
    assert learner.steps == 0


def test_overflow_in_half_precision_is_said_and_stays_out_of_running_statistics():
    network = tiny_network("sff", model={**SMALL, "norm": "batch"}, amp="fp16")
    before = copied(network.state_dict())
    x, y = random_batch(8)
    with pytest.raises(RunError, match="the loss of block 'conv1' is not finite at step 0"):
        learner_of(network, LENGTH).step(x * 1e7, y)

    after = network.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    running = [name for name in before if "conv1" in name or "blocks.0.body" in name]
    assert all(torch.equal(before[n], after[n]) for n in running if "running" in n)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(4, 3, 8, 8), torch.zeros(4).long(), r"images of \(3, 8, 8\)"),
        (torch.zeros(4, 8, 8), torch.zeros(4).long(), r"images of \(8, 8\)"),
        (torch.zeros(4, 1, 8, 8).long(), torch.zeros(4).long(), "images of torch.int64"),
        (torch.zeros(0, 1, 8, 8), torch.zeros(0).long(), "a batch of no images"),
        (torch.zeros(4, 1, 8, 8).double(), torch.zeros(4).long(), "images of torch.float64"),
        (torch.zeros(4, 1, 8, 8), torch.tensor(1), "labels: a tensor with a row per image"),
        (torch.zeros(4, 1, 8, 8), [1, 2, 3, 0], "labels: a tensor with a row per image"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(3).long(), r"labels \(3,\) .* 4 images"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4, 1).long(), r"labels \(4, 1\) .* 4 images"),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4), "labels .* of torch.float32"),
        (torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 4]), "from 0 to 4: .* from 0 to 3"),
        (torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, -1]), "labels from -1 to 2"),
    ],
)
def test_a_bad_batch(x, y, message):
    with pytest.raises(InputError, match=message) as error:
        learner_of(tiny_network()).step(x, y)
    assert "\n" not in str(error.value)


def test_what_needs_the_data_is_refused_in_a_loop_of_one_s_own():
    length = {"epochs": 1, "steps_per_epoch": 3}
    with pytest.raises(InputError, match="class_weights: here a list is needed"):
        Learner(tiny_network(class_weights="balanced", **length))
    with pytest.raises(InputError, match="class_weights: 2 for 4 classes"):
        Learner(tiny_network(class_weights=[1.0, 2.0], **length))
    with pytest.raises(InputError, match="feature_cache: here there is none"):
        Learner(tiny_network(feature_cache="features", plan="sequential", **length))
    Learner(tiny_network(class_weights=[1.0, 2.0, 1.0, 1.0], **length))


@pytest.mark.parametrize("method", ["cwc", "cafo", "scff", "asge-fast"])
def test_a_method_that_needs_to_know_the_length_says_so(method):
    with pytest.raises(InputError, match=f"'{method}' goes by the length of the run"):
        Learner(tiny_network(method))
    Learner(tiny_network(method, epochs=1, steps_per_epoch=3))


def test_averaged_weights_are_kept_at_the_end():
    network = tiny_network("mono-forward", ema=0.9, lr_schedule="constant")
    learner = learner_of(network, LENGTH)
    for step in range(4):
        learner.step(*random_batch(8, seed=step))
    averaged = copied(learner.final_network.state_dict())
    assert not same(averaged, network.state_dict())
    learner.finish()

    assert same(averaged, network.state_dict())


def left_behind(network, learner, x, y):
    network(x).sum().backward()


def broken_off(network, learner, x, y):
    for turn in learner.turns(x, y):
        turn.backward()
        break


def learnt_and_broken_off(network, learner, x, y):
    state = copied(network.state_dict()), learner.state_dict()
    for turn in learner.turns(x, y):
        turn.learn()
        break
    network.load_state_dict(state[0])
    for optimizer in learner.optimizers.values():
        optimizer.state.clear()


@pytest.mark.parametrize("amp", ["none", "fp16"])
@pytest.mark.parametrize("before", [left_behind, broken_off, learnt_and_broken_off])
def test_what_was_begun_elsewhere_is_no_part_of_a_step(before, amp):
    states = []
    for spoil in (lambda *_: None, before):
        network = tiny_network("sff", amp=amp, lr_schedule="constant")
        network.eval()
        learner = learner_of(network, LENGTH)
        spoil(network, learner, *random_batch(8))
        learner.steps = 0
        learner.step(*random_batch(8, seed=1))
        states.append(copied(dict(network.named_parameters())))
    assert same(*states)


def test_a_turn_learns_once_in_whatever_order_it_is_asked():
    def twice(learner, x, y):
        for turn in learner.turns(x, y):
            turn.backward()
            assert turn.loss.isfinite()
            turn.learn()

    def by_step_alone(learner, x, y):
        for turn in learner.turns(x, y):
            turn.step()

    expected = trained("sff", Learner.step)
    assert same(expected, trained("sff", twice))
    assert same(expected, trained("sff", by_step_alone))


@pytest.mark.parametrize("method", ["asge-fast", "cafo-dfa", "backprop"])
def test_modes_of_the_caller_s_own_code_do_not_reach_a_step(method):
    def without_gradients(learner, x, y):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            learner.step(x, y)

    assert same(trained(method, Learner.step), trained(method, without_gradients))
    learner, batch = learner_of(tiny_network(method)), random_batch(8)
    with torch.inference_mode(), pytest.raises(InputError, match="inference mode"):
        learner.step(*batch)


def test_half_precision_s_overflow_stays_out_of_heads_too():
    network = tiny_network("dgl", amp="fp16")
    learner = learner_of(network, LENGTH)
    x, y = random_batch(8)
    learner.step(x, y)
    with pytest.raises(RunError, match="not finite"):
        learner.step(x * 3e4, y)
    assert all(torch.isfinite(buffer).all() for buffer in network.buffers())


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("distance-forward-r", {"model": {"name": "mlp", "widths": [8, 8], "norm": "batch"}}),
        ("dgl", {}),
    ],
)
def test_a_batch_of_one_is_refused_wherever_it_is_met(method, values):
    with pytest.raises(InputError, match="batch of one"):
        learner_of(tiny_network(method, **values)).step(*random_batch(1))


def test_scores_have_no_graph_and_a_learner_can_be_copied():
    learner = learner_of(tiny_network("backprop"), LENGTH)
    scores = learner.step(*random_batch(8)).scores
    assert all(own is None or not own.requires_grad for own in scores)
    twin = copy.deepcopy(learner)
    assert same(twin.network.state_dict(), learner.network.state_dict())


def test_an_average_that_was_not_saved_begins_with_the_weights():
    state = learner_of(tiny_network("sff"), LENGTH).state_dict()
    network = tiny_network("sff", ema=0.999, seed=1)
    learner = learner_of(network, LENGTH)
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    learner.load_state_dict(state)

    assert same(learner.final_network.state_dict(), network.state_dict())


def test_two_learners_of_one_network_weigh_classes_by_themselves():
    values = {"lr_schedule": "constant", "readouts": {"output": {}}}
    moved = []
    for second in (False, True):
        network = tiny_network("sff", **values)
        learner = learner_of(network, LENGTH, class_weights=torch.tensor([1, 0, 0, 5]))
        if second:
            learner_of(network, LENGTH)
        learner.step(*random_batch(8))
        moved.append(copied(network.state_dict()))
    assert same(*moved)


def test_blocks_are_shared_by_learners_that_say_how():
    with pytest.raises(InputError, match="override receive"):
        learner_of(tiny_network(), blocks=range(1))
