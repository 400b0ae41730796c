from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch

from goodness.clock import Clock
from goodness.network.build import build
from goodness.learning.learner import Learner
from goodness.learning.segment import run_segment, send_last
from goodness.objective import Context

IMAGE = (1, 8, 8)


def clock(step):
    return Clock(step, 5, 2)


def sent_on(network, segment, x, y, images, step):
    outcome = run_segment(network, segment, x, y, Context(x, images), step)
    send_last(network, segment, outcome, step)
    return outcome.sent[-1]


def make(method="asge-fast", **values):
    model = {"name": "small-cnn", "widths": [4, 6, 8], "pools": [1]}
    values = {"boundary": {"name": "rms", "dropout": 0.3}, "model": model, **values}
    return build(method, image_shape=IMAGE, num_classes=3, **values)


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
    segments = network.plan.at(clock(7))
    x = network.present(images, y)
    inputs, sent = [], []
    for segment in segments:
        inputs.append(x)
        x = sent_on(network, segment, x, y, images, step=7)
        sent.append(x)

    torch.rand(10)  # whatever was drawn in between
    alone = sent_on(network, segments[1], inputs[1], y, images, step=7)
    later = sent_on(network, segments[1], inputs[1], y, images, step=8)

    assert torch.equal(alone, sent[1])
    assert not torch.equal(later == 0, sent[1] == 0)


def test_blocks_of_one_step_draw_different_masks(batch):
    model = {"name": "small-cnn", "widths": [6, 6], "pools": []}
    network = build("asge", image_shape=(6, 8, 8), num_classes=3, model=model, boundary={"dropout": 0.5})
    for block in network:
        torch.nn.init.zeros_(block.body[0].weight)
        torch.nn.init.ones_(block.body[0].bias)  # nothing is zero but what is dropped
    images, y = batch(4, (6, 8, 8), 3)
    network.train()
    x, masks = images, []
    for segment in network.plan.at(clock(0)):
        x = sent_on(network, segment, x, y, images, step=0)
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
    x = network.present(images, y)
    outcome = run_segment(
        network, network.plan.at(clock(0))[0], x, y, Context(x, images), step=0
    )
    report = Learner(network).step(images, y, clock(0))

    tensors = [outcome.value, *outcome.losses, *outcome.scores, *report.losses, *report.scores]
    assert all(not tensor.requires_grad for tensor in tensors)
    assert outcome.rows.requires_grad


def test_what_is_sent_comes_from_the_forward_before_the_update(batch):
    network = make(boundary="identity", lr=0.1, lr_schedule="constant")
    images, y = batch(8, IMAGE, 3)
    first = copy.deepcopy(network.blocks[0]).train()
    with torch.no_grad():
        expected = first.output(first.body(network.present(images, y)))
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
        lr=0.5, lr_schedule={"name": "cosine", "warmup": 0.0}, readouts={"fusion": {"lr": 0.25}}
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


def test_labels_in_the_image_are_asked_in_one_batch_whatever_its_parts(batch, monkeypatch):
    from goodness.engine import network as module

    network = make("ff-cnn")
    images, _ = batch(7, IMAGE, 3)
    whole = network.evaluate(images)
    monkeypatch.setattr(module, "ASK_ROWS", 6)  # two images at a time
    rows = []
    network[0].body.register_forward_pre_hook(lambda m, inputs: rows.append(len(inputs[0])))
    parts = network.evaluate(images)

    assert rows == [6, 6, 6, 3, 7]  # and the neutral images at the end
    for name in whole.totals:
        torch.testing.assert_close(whole.final(name), parts.final(name))


def test_a_readout_of_a_method_with_labels_learns_from_neutral_images(batch):
    """With the true label in sight it would learn to read the label, not the image."""
    network = make("ff-cnn", readouts={"fusion": {"skip": 0, "pool": 1}})
    images, y = batch(8, IMAGE, 3)
    seen = []
    network.readouts["fusion"].maps[0].register_forward_pre_hook(
        lambda m, inputs: seen.append(inputs[0])
    )
    Learner(network).step(images, y, clock(0))

    network.eval()
    x = network[0].output(network[0].body(network.presentation.neutral_rows(images)))
    assert len(seen) == 1
    assert seen[0].shape == (8, 4)
    # The features are those after the blocks' update of this step.
    torch.testing.assert_close(seen[0], x.mean((2, 3)))


@pytest.mark.parametrize("classes", [2, 3])
def test_pairs_of_rows_have_no_class_accuracy(classes, batch):
    """Of two classes there are as many rows as there would be scores."""
    network = build("ff-cnn", image_shape=IMAGE, num_classes=classes, model={"widths": [4, 4], "kernel": 3})
    report = Learner(network).step(*batch(8, IMAGE, classes), clock(0))

    assert report.scores == [None, None]
    assert all(loss is not None for loss in report.losses)


def test_a_readout_waits_for_its_part_of_the_run(batch):
    network = make(readouts={"fusion": {"start": 0.5}})
    learner = Learner(network)
    before = {n: p.clone() for n, p in network.readouts["fusion"].named_parameters()}

    learner.step(*batch(8, IMAGE, 3), clock(4))
    assert all(torch.equal(p, before[n]) for n, p in network.readouts["fusion"].named_parameters())
    learner.step(*batch(8, IMAGE, 3), clock(5))
    assert not any(
        torch.equal(p, before[n]) for n, p in network.readouts["fusion"].named_parameters()
    )


def test_frozen_blocks_do_not_move(batch):
    network = make("asge-fast", plan="sequential", epochs=3)
    before = {n: v.clone() for n, v in network.state_dict().items()}

    Learner(network).step(*batch(8, IMAGE, 3), clock(5))  # of ten steps: the second of three blocks

    moved = {
        n.split(".")[1] for n, v in network.state_dict().items() if not torch.equal(v, before[n])
    }
    assert moved & {"0", "1", "2"} == {"1"}


def test_heads_alone_are_trained_where_the_update_says_so(batch):
    network = make("cafo-ce", plan="together")
    before = {n: p.clone() for n, p in network.named_parameters()}

    Learner(network).step(*batch(8, IMAGE, 3), clock(0))

    moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {f"blocks.{i}.objective.linear.weight" for i in range(3)}


def test_sums_of_an_unfinished_epoch_are_kept_with_the_state(batch):
    batches = [batch(8, IMAGE, 3, seed=step) for step in range(4)]
    network, again = make("cafo"), make("cafo")
    learner, resumed = Learner(network), Learner(again)
    for step in range(2):
        learner.step(*batches[step], clock(step + 5))
    tensors, plain = learner.state()
    resumed.load_state({place: value.clone() for place, value in tensors.items()}, plain)
    again.load_state_dict(network.state_dict())
    for step in range(2, 4):
        learner.step(*batches[step], clock(step + 5))
        resumed.step(*batches[step], clock(step + 5))
    learner.end_epoch()
    resumed.end_epoch()

    assert any(place.startswith("pending/") for place in tensors)
    assert network[0].objective.weight.abs().sum() > 0
    assert same(network.state_dict(), again.state_dict())
    assert not any(place.startswith("pending/") for place in learner.state()[0])


@pytest.mark.parametrize(("method", "options"), [("sff", {"accumulate_steps": 4}), ("cafo", {})])
def test_what_waits_is_forgotten_where_an_earlier_state_is_taken_back(method, options, batch):
    network = make(method, epochs=1, steps_per_epoch=5, **options)
    before = network.training_state()
    for step in range(3):
        network.step(*batch(8, IMAGE, 3, seed=step))
    assert network.training_state()["tensors"].keys() != before["tensors"].keys()

    network.load_training_state(before)

    after = network.training_state()
    assert after["tensors"].keys() == before["tensors"].keys()
    assert after["plain"] == before["plain"]


@pytest.mark.parametrize("values", [{}, {"freeze_until": "1"}, {"plan": "sequential"}])
def test_looking_ahead_sees_what_the_step_will_and_leaves_no_trace(batch, values):
    from goodness.learning.segment import look_ahead

    model = {"name": "small-cnn", "widths": [4, 6], "pools": [1], "norm": "batch"}
    network = make("distance-forward-r", model=model, **values).train()
    for name, value in network.named_buffers():
        if name.endswith("running_var"):
            value.fill_(4.0)  # a frozen block that took the batch's would answer otherwise
    before = {n: v.clone() for n, v in network.state_dict().items()}
    images, y = batch(8, IMAGE, 3)
    x = network.present(images, y)

    scores = look_ahead(network, x, clock(3))

    assert same(before, dict(network.state_dict()))
    look = Context(x, images, scores)
    compared = 0
    ahead_of = iter(scores)
    for segment in network.plan.at(clock(3)):
        expected = [next(ahead_of) for _ in segment.blocks]
        # Nothing is updated in between here, so that the step's own forward is the same.
        outcome = run_segment(network, segment, x, y, look, step=3)
        for own, ahead in zip(outcome.scores, expected, strict=True):
            if own is not None:
                torch.testing.assert_close(own, ahead)
                compared += 1
        send_last(network, segment, outcome, step=3)
        x = outcome.sent[-1]
    assert compared


def test_a_readout_learns_from_every_block_while_the_last_ones_wait(batch):
    """Where a label is part of the row, it sees the images once more, without one."""
    model = {"name": "small-cnn", "widths": [4, 6, 8], "pools": [1]}
    network = build("ff", image_shape=IMAGE, num_classes=3, model=model, plan="sequential")
    report = Learner(network).step(*batch(8, IMAGE, 3), clock(0))

    (learns,) = [readout for readout in network.readouts.values() if readout.trainable]
    assert [loss is None for loss in report.losses] == [False, True, True]
    assert all(parameter.grad is None for parameter in learns.parameters())
    assert learns.maps[-1].weight.abs().sum() > 0


def test_a_batch_of_one_that_a_batch_norm_cannot_learn_from_is_refused(batch):
    from goodness import InputError

    network = make("dgl")
    with pytest.raises(InputError, match="batch of one"):
        Learner(network).step(*batch(1, IMAGE, 3), clock(0))
