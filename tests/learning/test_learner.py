from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch

from goodness import InputError
from goodness.clock import Clock
from goodness.learning.parts import Batch
from goodness.learning.turn import Turn, later_scores
from goodness.network.build import build
from goodness.objective import Context
from helpers import copied, learner_of, same, step_at

IMAGE = (1, 8, 8)
LENGTH = (5, 2)


def clock(step):
    return Clock(step, *LENGTH)


def turn_of(network, segment, x, y, images, step):
    learner = learner_of(network, LENGTH)
    return Turn(learner, segment, Batch(x, y, Context(x, images)), clock(step))


def output_of(*turn):
    return turn_of(*turn).result.outputs[-1]


def make(method="asge-fast", **values):
    model = {"name": "small-cnn", "widths": [4, 6, 8], "pools": [1]}
    values = {"boundary": {"name": "rms", "dropout": 0.3}, "model": model, **values}
    return build(method, image_shape=IMAGE, num_classes=3, **values)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("method", ["asge-fast", "backprop"])
def test_going_on_from_saved_state_equals_never_having_stopped(method, optimizer, batch):
    batches = [batch(8, IMAGE, 3, seed=step) for step in range(6)]
    network = make(method, optimizer=optimizer)
    learner = learner_of(network, LENGTH)
    for step in range(3):
        step_at(learner, step, *batches[step])
    # As a file does it: copies in plain row-major order.
    weights = {name: v.clone().contiguous() for name, v in network.state_dict().items()}
    state = learner.state_dict()
    tensors = {place: v.clone().contiguous() for place, v in state["tensors"].items()}
    for step in range(3, 6):
        step_at(learner, step, *batches[step])

    again = make(method, optimizer=optimizer, seed=0)
    again.load_state_dict(weights)
    resumed = learner_of(again, LENGTH)
    resumed.load_state_dict({**state, "tensors": tensors})
    for step in range(3, 6):
        step_at(resumed, step, *batches[step])

    convolution = again.blocks[1].body[0].weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    assert same(network.state_dict(), again.state_dict())
    assert same(learner.state_dict()["tensors"], resumed.state_dict()["tensors"])
    # The test can fail: without the optimizer's state the weights differ.
    forgetful = make(method, optimizer=optimizer, seed=0)
    forgetful.load_state_dict(weights)
    learner = learner_of(forgetful, LENGTH)
    for step in range(3, 6):
        step_at(learner, step, *batches[step])
    assert not same(network.state_dict(), forgetful.state_dict())


def test_a_block_replayed_alone_draws_the_same_dropout_mask(batch):
    network = make().train()
    images, y = batch(8, IMAGE, 3)
    segments = network.plan.at(clock(7))
    x = network.training_rows(images, y)
    inputs, sent = [], []
    for segment in segments:
        inputs.append(x)
        x = output_of(network, segment, x, y, images, 7)
        sent.append(x)

    torch.rand(10)  # whatever was drawn in between
    alone = output_of(network, segments[1], inputs[1], y, images, 7)
    later = output_of(network, segments[1], inputs[1], y, images, 8)

    assert torch.equal(alone, sent[1])
    assert not torch.equal(later == 0, sent[1] == 0)


def test_blocks_of_one_step_draw_different_masks(batch):
    model = {"name": "small-cnn", "widths": [6, 6], "pools": []}
    network = build(
        "asge", image_shape=(6, 8, 8), num_classes=3, model=model, boundary={"dropout": 0.5}
    )
    for block in network:
        torch.nn.init.zeros_(block.body[0].weight)
        torch.nn.init.ones_(block.body[0].bias)  # nothing is zero but what is dropped
    images, y = batch(4, (6, 8, 8), 3)
    network.train()
    x, masks = images, []
    for segment in network.plan.at(clock(0)):
        x = output_of(network, segment, x, y, images, 0)
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
    learner = learner_of(network, LENGTH)

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        step_at(learner, 0, *batch(8, IMAGE, 3))

    assert len(kept) > 3
    assert alive == [0, 0, 0]
    assert all(p.grad is None for p in network.parameters())


def test_end_to_end_keeps_one_graph(batch):
    network = make("backprop")
    seen = []
    for block in network:
        block.body.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0].requires_grad))
    step_at(learner_of(network, LENGTH), 0, *batch(8, IMAGE, 3))

    assert seen == [False, True, True]


def test_what_is_sent_and_reported_has_no_graph(batch):
    network = make().train()
    images, y = batch(8, IMAGE, 3)
    x = network.training_rows(images, y)
    result = turn_of(network, network.plan.at(clock(0))[0], x, y, images, 0).result
    report = step_at(learner_of(network, LENGTH), 0, images, y)

    tensors = [*result.outputs, *result.losses, *result.scores, *report.losses, *report.scores]
    assert all(not tensor.requires_grad for tensor in tensors)


def test_what_is_sent_comes_from_the_forward_before_the_update(batch):
    network = make(boundary="identity", lr=0.1, lr_schedule="constant")
    images, y = batch(8, IMAGE, 3)
    first = copy.deepcopy(network.blocks[0]).train()
    with torch.no_grad():
        expected = first.output(first.body(network.training_rows(images, y)))
    seen = []
    network.blocks[1].body.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))

    step_at(learner_of(network, LENGTH), 0, images, y)

    torch.testing.assert_close(seen[0], expected)


def test_the_report_has_the_mean_loss_and_scores_before_the_update(batch):
    network = make(boundary="identity")
    images, y = batch(8, IMAGE, 3)
    block = copy.deepcopy(network.blocks[0]).train()

    report = step_at(learner_of(network, LENGTH), 0, images, y)

    scores = block.objective.scores(block.body(network.training_rows(images, y)))
    torch.testing.assert_close(report.scores[0], scores)
    expected = -scores.log_softmax(1)[range(8), y].mean()
    torch.testing.assert_close(report.losses[0], expected)


def test_every_optimizer_follows_the_rate_and_readouts_may_have_their_own():
    network = make(
        lr=0.5, lr_schedule={"name": "cosine", "warmup": 0.0}, readouts={"fusion": {"lr": 0.25}}
    )
    learner = learner_of(network, LENGTH)
    images, y = torch.zeros(4, *IMAGE), torch.arange(4) % 3
    step_at(learner, 5, images, y)  # half way: the factor is 0.5

    rates = {owner: o.param_groups[0]["lr"] for owner, o in learner.optimizers.items()}
    assert rates == pytest.approx({"0": 0.25, "1": 0.25, "2": 0.25, "fusion": 0.125})


def test_every_trainable_parameter_has_one_owner():
    for method in ("asge-fast", "backprop"):
        network = make(method)
        owned = [p for group in learner_of(network, LENGTH).parameters.values() for p in group]
        assert len(owned) == len(set(owned))
        assert set(owned) == set(network.parameters())


def test_labels_in_the_image_are_asked_in_one_batch_whatever_its_parts(batch, monkeypatch):
    from goodness.network import network as module

    network = make("ff-cnn")
    images, _ = batch(7, IMAGE, 3)
    whole = network.evaluate(images)
    monkeypatch.setattr(module, "QUERY_ROWS", 6)  # two images at a time
    rows = []
    network[0].body.register_forward_pre_hook(lambda m, inputs: rows.append(len(inputs[0])))
    parts = network.evaluate(images)

    assert rows == [6, 2, 6, 2, 6, 2, 3, 1]  # and the neutral images behind each
    for name in whole.readouts:
        torch.testing.assert_close(whole.final(name), parts.final(name))


def test_a_readout_of_a_method_with_labels_learns_from_neutral_images(batch):
    """With the true label in sight it would learn to read the label, not the image."""
    network = make("ff-cnn", readouts={"fusion": {"skip": 0, "pool": 1}})
    images, y = batch(8, IMAGE, 3)
    seen = []
    network.readouts["fusion"].maps[0].register_forward_pre_hook(
        lambda m, inputs: seen.append(inputs[0])
    )
    step_at(learner_of(network, LENGTH), 0, images, y)

    network.eval()
    x = network[0].output(network[0].body(network.presentation.neutral_rows(images)))
    assert len(seen) == 1
    assert seen[0].shape == (8, 4)
    # The features are those after the blocks' update of this step.
    torch.testing.assert_close(seen[0], x.mean((2, 3)))


@pytest.mark.parametrize("classes", [2, 3])
def test_pairs_of_rows_have_no_class_accuracy(classes, batch):
    """Of two classes there are as many rows as there would be scores."""
    network = build(
        "ff-cnn", image_shape=IMAGE, num_classes=classes, model={"widths": [4, 4], "kernel": 3}
    )
    report = step_at(learner_of(network, LENGTH), 0, *batch(8, IMAGE, classes))

    assert report.scores == [None, None]
    assert all(loss is not None for loss in report.losses)


def test_a_readout_waits_for_its_part_of_the_run(batch):
    network = make(readouts={"fusion": {"start": 0.5}})
    learner = learner_of(network, LENGTH)
    before = {n: p.clone() for n, p in network.readouts["fusion"].named_parameters()}

    step_at(learner, 4, *batch(8, IMAGE, 3))
    assert all(torch.equal(p, before[n]) for n, p in network.readouts["fusion"].named_parameters())
    step_at(learner, 5, *batch(8, IMAGE, 3))
    assert not any(
        torch.equal(p, before[n]) for n, p in network.readouts["fusion"].named_parameters()
    )


def test_frozen_blocks_do_not_move(batch):
    network = make("asge-fast", plan="sequential", epochs=3)
    before = {n: v.clone() for n, v in network.state_dict().items()}

    step_at(
        learner_of(network, LENGTH), 5, *batch(8, IMAGE, 3)
    )  # of ten steps: the second of three blocks

    moved = {
        n.split(".")[1] for n, v in network.state_dict().items() if not torch.equal(v, before[n])
    }
    assert moved & {"0", "1", "2"} == {"1"}


def test_heads_alone_are_trained_where_the_update_says_so(batch):
    network = make("cafo-ce", plan="together")
    before = {n: p.clone() for n, p in network.named_parameters()}

    step_at(learner_of(network, LENGTH), 0, *batch(8, IMAGE, 3))

    moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {f"blocks.{i}.objective.linear.weight" for i in range(3)}


def test_sums_of_an_unfinished_epoch_are_kept_with_the_state(batch):
    batches = [batch(8, IMAGE, 3, seed=step) for step in range(4)]
    network, again = make("cafo"), make("cafo")
    learner, resumed = learner_of(network, LENGTH), learner_of(again, LENGTH)
    for step in range(2):
        step_at(learner, step + 5, *batches[step])
    state = learner.state_dict()
    tensors = copied(state["tensors"])
    resumed.load_state_dict({**state, "tensors": tensors})
    again.load_state_dict(network.state_dict())
    for step in range(2, 4):
        step_at(learner, step + 5, *batches[step])
        step_at(resumed, step + 5, *batches[step])
    learner.end_epoch()
    resumed.end_epoch()

    assert any(place.startswith("pending/") for place in tensors)
    assert network[0].objective.weight.abs().sum() > 0
    assert same(network.state_dict(), again.state_dict())
    assert not any(place.startswith("pending/") for place in learner.state_dict()["tensors"])


@pytest.mark.parametrize(("method", "options"), [("sff", {"accumulate_steps": 4}), ("cafo", {})])
def test_what_waits_is_forgotten_where_an_earlier_state_is_taken_back(method, options, batch):
    learner = learner_of(make(method, **options), (5, 1))
    before = learner.state_dict()
    for step in range(3):
        learner.step(*batch(8, IMAGE, 3, seed=step))
    assert learner.state_dict()["tensors"].keys() != before["tensors"].keys()

    learner.load_state_dict(before)

    after = learner.state_dict()
    assert after["tensors"].keys() == before["tensors"].keys()
    assert after["plain"] == before["plain"]


@pytest.mark.parametrize("values", [{}, {"freeze_until": "1"}, {"plan": "sequential"}])
def test_looking_ahead_sees_what_the_step_will_and_leaves_no_trace(batch, values):
    model = {"name": "small-cnn", "widths": [4, 6], "pools": [1], "norm": "batch"}
    network = make("distance-forward-r", model=model, **values).train()
    for name, value in network.named_buffers():
        if name.endswith("running_var"):
            value.fill_(4.0)  # a frozen block that took the batch's would answer otherwise
    before = {n: v.clone() for n, v in network.state_dict().items()}
    images, y = batch(8, IMAGE, 3)
    x = network.training_rows(images, y)

    scores = later_scores(network, Batch(x, y, Context(x, images)), clock(3))

    assert same(before, dict(network.state_dict()))
    learner = learner_of(network, LENGTH)
    context = Context(x, images, scores)
    compared = 0
    ahead_of = iter(scores)
    for segment in network.plan.at(clock(3)):
        expected = [next(ahead_of) for _ in segment.blocks]
        # Nothing is updated in between here, so that the step's own forward is the same.
        result = Turn(learner, segment, Batch(x, y, context), clock(3)).result
        for own, ahead in zip(result.scores, expected, strict=True):
            if own is not None:
                torch.testing.assert_close(own, ahead)
                compared += 1
        x = result.outputs[-1]
    assert compared


def test_a_readout_learns_from_every_block_while_the_last_ones_wait(batch):
    """Where a label is part of the row, it sees the images once more, without one."""
    model = {"name": "small-cnn", "widths": [4, 6, 8], "pools": [1]}
    network = build("ff", image_shape=IMAGE, num_classes=3, model=model, plan="sequential")
    report = step_at(learner_of(network, LENGTH), 0, *batch(8, IMAGE, 3))

    (learns,) = [readout for readout in network.readouts.values() if readout.trainable]
    assert [loss is None for loss in report.losses] == [False, True, True]
    assert all(parameter.grad is None for parameter in learns.parameters())
    assert learns.maps[-1].weight.abs().sum() > 0


def test_a_batch_of_one_that_a_batch_norm_cannot_learn_from_is_refused(batch):
    network = make("dgl")
    with pytest.raises(InputError, match="batch of one"):
        step_at(learner_of(network, LENGTH), 0, *batch(1, IMAGE, 3))
