from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch

from goodness.engine.learner import Learner
from goodness.engine.network import build
from goodness.engine.rates import Clock
from goodness.engine.segment import run_segment

IMAGE = (1, 8, 8)


def clock(step):
    return Clock(step, 5, 2)


def make(method="asge-fast", **values):
    model = {"name": "small-cnn", "widths": [4, 6, 8], "pools": [1]}
    values = {"boundary": {"name": "rms", "dropout": 0.3}, **values}
    return build(method, image=IMAGE, classes=3, model=model, **values)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("method", ["asge-fast", "backprop"])
def test_going_on_from_saved_state_equals_never_having_stopped(method, optimizer, batch):
    batches = [batch(8, IMAGE, 3, seed=step) for step in range(6)]
    network = make(method, optimizer=optimizer)
    learner = Learner(network)
    for step in range(3):
        learner.step(*batches[step], clock(step))
    # As a file does it: copies in plain row-major order.
    weights = {name: v.clone().contiguous() for name, v in network.state_dict().items()}
    tensors, plain = learner.state()
    tensors = {place: value.clone().contiguous() for place, value in tensors.items()}
    for step in range(3, 6):
        learner.step(*batches[step], clock(step))

    again = make(method, optimizer=optimizer, seed=0)
    again.load_state_dict(weights)
    resumed = Learner(again)
    resumed.load_state(tensors, plain)
    for step in range(3, 6):
        resumed.step(*batches[step], clock(step))

    convolution = again.blocks[1].body[0].weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    assert same(network.state_dict(), again.state_dict())
    assert same(learner.state()[0], resumed.state()[0])
    # The test can fail: without the optimizer's state the weights differ.
    forgetful = make(method, optimizer=optimizer, seed=0)
    forgetful.load_state_dict(weights)
    learner = Learner(forgetful)
    for step in range(3, 6):
        learner.step(*batches[step], clock(step))
    assert not same(network.state_dict(), forgetful.state_dict())


def test_a_block_replayed_alone_draws_the_same_dropout_mask(batch):
    network = make().train()
    images, y = batch(8, IMAGE, 3)
    segments = network.schedule.plan(7)
    x = network.present(images, y)
    inputs, sent = [], []
    for segment in segments:
        inputs.append(x)
        x = run_segment(network, segment, x, y, step=7).sent[-1]
        sent.append(x)

    torch.rand(10)  # whatever was drawn in between
    alone = run_segment(network, segments[1], inputs[1], y, step=7).sent[-1]
    later = run_segment(network, segments[1], inputs[1], y, step=8).sent[-1]

    assert torch.equal(alone, sent[1])
    assert not torch.equal(later == 0, sent[1] == 0)


def test_blocks_of_one_step_draw_different_masks(batch):
    model = {"name": "small-cnn", "widths": [6, 6], "pools": []}
    network = build("asge", image=(6, 8, 8), classes=3, model=model, boundary={"dropout": 0.5})
    for block in network:
        torch.nn.init.zeros_(block.body[0].weight)
        torch.nn.init.ones_(block.body[0].bias)  # nothing is zero but what is dropped
    images, y = batch(4, (6, 8, 8), 3)
    network.train()
    x, masks = images, []
    for segment in network.schedule.plan(0):
        x = run_segment(network, segment, x, y, step=0).sent[-1]
        masks.append(x == 0)

    assert not torch.equal(*masks)


def test_what_a_segment_keeps_is_freed_before_the_next_one_runs(batch):
    """So the memory of a step does not grow with the number of blocks."""
    network = make()
    kept, alive = [], []

    class Saved:
        """What autograd keeps for the backward pass, held so that its end can be seen."""

        def __init__(self, tensor):
            self.tensor = tensor.detach()
            kept.append(weakref.ref(self))

    def count(module, inputs):
        gc.collect()
        alive.append(sum(reference() is not None for reference in kept))

    for block in network:
        block.body.register_forward_pre_hook(count)
    learner = Learner(network)

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        learner.step(*batch(8, IMAGE, 3), clock(0))

    assert len(kept) > 3
    assert alive == [0, 0, 0]
    assert all(p.grad is None for p in network.parameters())


def test_end_to_end_keeps_one_graph(batch):
    network = make("backprop")
    seen = []
    for block in network:
        block.body.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].requires_grad))
    Learner(network).step(*batch(8, IMAGE, 3), clock(0))

    assert seen == [False, True, True]


def test_what_is_sent_and_reported_has_no_graph(batch):
    network = make().train()
    images, y = batch(8, IMAGE, 3)
    outcome = run_segment(
        network, network.schedule.plan(0)[0], network.present(images, y), y, step=0
    )
    report = Learner(network).step(images, y, clock(0))

    tensors = [*outcome.sent, *outcome.losses, *outcome.scores, *report.losses, *report.scores]
    assert all(not tensor.requires_grad for tensor in tensors)
    assert outcome.loss.requires_grad


def test_what_is_sent_comes_from_the_forward_before_the_update(batch):
    network = make(boundary="identity", lr=0.1, rate="constant")
    images, y = batch(8, IMAGE, 3)
    first = copy.deepcopy(network.blocks[0]).train()
    with torch.no_grad():
        expected = first.send(first.body(network.present(images, y)))
    seen = []
    network.blocks[1].body.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))

    Learner(network).step(images, y, clock(0))

    torch.testing.assert_close(seen[0], expected)


def test_the_report_has_the_mean_loss_and_scores_before_the_update(batch):
    network = make(boundary="identity")
    images, y = batch(8, IMAGE, 3)
    block = copy.deepcopy(network.blocks[0]).train()

    report = Learner(network).step(images, y, clock(0))

    scores = block.objective.scores(block.body(network.present(images, y)))
    torch.testing.assert_close(report.scores[0], scores)
    expected = -scores.log_softmax(1)[range(8), y].mean()
    torch.testing.assert_close(report.losses[0], expected)


def test_every_optimizer_follows_the_rate_and_readouts_may_have_their_own():
    network = make(
        lr=0.5, rate={"name": "cosine", "warmup": 0.0}, readouts={"fusion": {"lr": 0.25}}
    )
    learner = Learner(network)
    images, y = torch.zeros(4, *IMAGE), torch.arange(4) % 3
    learner.step(images, y, clock(5))  # half way: the factor is 0.5

    rates = {owner: o.param_groups[0]["lr"] for owner, o in learner.optimizers.items()}
    assert rates == pytest.approx({"0": 0.25, "1": 0.25, "2": 0.25, "fusion": 0.125})


def test_every_trainable_parameter_has_one_owner():
    for method in ("asge-fast", "backprop"):
        network = make(method)
        owned = [p for group in Learner(network).parameters.values() for p in group]
        assert len(owned) == len(set(owned))
        assert set(owned) == set(network.parameters())
