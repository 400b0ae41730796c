"""What a rank of a pipeline trains, tried out with all ranks in one process."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from goodness.clock import Clock
from goodness.errors import InputError
from goodness.learning.learner import Learner, PipelineState, StepResult
from goodness.methods import METHODS
from goodness.network.build import build
from goodness.parallel.balance import ELEMENT, cuts, loads
from goodness.parallel.data import DataRanks
from goodness.parallel.layers import LayerRanks
from goodness.partition.balanced import balanced
from helpers import copied, same

IMAGE = (1, 8, 8)
MODEL = {"name": "small-cnn", "widths": [8, 8, 8], "pools": [1]}
LENGTH = (4, 2)
STEPS = (0, 1, 6)
RUN = Clock(0, *LENGTH)


def make(method, **values):
    return build(method, image_shape=IMAGE, num_classes=4, model=MODEL, **values)


def ranks(count, rank=0):
    group = SimpleNamespace(rank=rank, count=count, device=torch.device("cpu"), command="")
    return LayerRanks(group)


def pipeline(method, parts, **values):
    """A learner per part, each with a network of its own."""
    networks = [make(method, **values) for _ in range(parts)]
    shares = balanced(loads(networks[0]), cuts(networks[0]), parts)
    runs = zip(networks, shares, strict=True)
    return [Relay(n, blocks=own, run=RUN) for n, own in runs]


class Relay(Learner):
    """A stage that is handed what the one before has delivered, by copies."""

    def hand(self, tensors):
        self.tensors = tensors and copied(tensors)
        return self

    def receive(self, images, y, clock, first):
        if self.blocks.start == 0:
            return super().receive(images, y, clock, first)
        torch.manual_seed(99)  # nothing may hang on what another process has drawn
        readouts = list(self.learning_readouts(clock))
        return PipelineState.of(self.tensors, self.blocks.start, readouts)

    def deliver(self, state, y, clock):
        self.tensors = state.tensors()
        if self.ends_here:
            return super().deliver(state, y, clock)
        return StepResult(state.losses, state.scores)


def step_through(stages, x, y):
    """One step of a pipeline, each stage seeing only what it is handed."""
    tensors = None
    for stage in stages:
        objectives = [stage.network[index].objective for index in stage.blocks]
        reads = any(o is not None and o.needs_images for o in objectives)
        images = x if stage.blocks.start == 0 or reads else x.to("meta")
        result = stage.hand(tensors).step(images, y)
        tensors = stage.tensors
    return result


def cannot_be_cut(method):
    network = make(method)
    objectives = [block.objective for block in network if block.objective is not None]
    ahead = any(own.needs_later_scores or own.follows for own in objectives)
    return ahead or len(cuts(network)) < 1


@pytest.mark.parametrize("method", METHODS.names())
def test_a_pipeline_computes_what_one_process_does(method, batch):
    """Bit for bit; methods that cannot be cut say so."""
    if cannot_be_cut(method):
        with pytest.raises(InputError, match=r"--parallel layers: .*--parallel data"):
            ranks(2).learner(make(method), None, RUN)
        return
    values = {"boundary": {"name": "rms", "dropout": 0.2}} if method == "asge-fast" else {}
    whole = Learner(make(method, **values), run=RUN)
    stages = pipeline(method, min(3, len(cuts(whole.network)) + 1), **values)
    for step in STEPS:
        x, y = batch(8, IMAGE, 4, seed=step)
        for learner in (whole, *stages):
            learner.steps = step
        expected = whole.step(x, y)
        report = step_through(stages, x, y)
        for mine, theirs in [
            *zip(report.losses, expected.losses, strict=True),
            *zip(report.scores, expected.scores, strict=True),
        ]:
            assert (mine is None) == (theirs is None)
            assert mine is None or torch.equal(mine, theirs)
    for learner in (whole, *stages):
        learner.end_epoch()

    weights, tensors, plain = {}, {}, {}
    for stage in stages:
        state = stage.network.state_dict()
        weights |= {name: value for name, value in state.items() if stage.holds(name)}
        own = stage.state_dict()
        tensors |= own["tensors"]
        plain |= own["plain"]
    assert same(weights, whole.network.state_dict())
    expected = whole.state_dict()
    assert same(tensors, expected["tensors"])
    assert plain == expected["plain"]


def test_the_cost_of_a_block_is_its_forward_and_its_map():
    # A 3x3 convolution multiplies and adds 9 * in * out times at every position, and the goodness
    # of 8 channels is shared out among 4 classes; the maps have 8 channels.
    forward = [2 * (9 * 1 * 8 * 64 + 8 * 4), 2 * (9 * 8 * 8 * 16 + 8 * 4)]
    maps = [ELEMENT * 8 * 64, ELEMENT * 8 * 16]
    assert loads(make("asge"))[:2] == [forward[0] + maps[0], forward[1] + maps[1]]


@pytest.mark.parametrize(
    ("method", "values", "count", "says"),
    [
        ("backprop", {}, 2, "several blocks learn from one loss"),
        ("trifecta", {}, 2, "several blocks learn from one loss"),
        ("cafo-dfa", {}, 2, "'direct-feedback' of block 'conv1' reads what later blocks say"),
        ("hpff", {}, 2, "several blocks learn from one loss"),
        ("man", {}, 2, "'look-ahead' of block 'conv1' averages the next block's weights"),
        ("asge", {}, 4, "4 ranks, but .* 3 parts .* no more blocks"),
        ("asge", {"amp": "fp16"}, 2, "--amp bf16"),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(method, values, count, says):
    with pytest.raises(InputError, match=f"--parallel layers: .*{says}"):
        ranks(count).learner(make(method, **values), None, RUN)


def test_only_ranks_that_read_images_have_them():
    # Of InfoPro's blocks the last one alone reconstructs no image.
    for method, reads in [("asge", [True, False, False]), ("infopro", [True, True, False])]:
        found = []
        for rank in range(3):
            stage = ranks(3, rank)
            stage.learner(make(method, partition="layer"), None, RUN)
            found.append(stage.reads_images)
        assert found == reads


@pytest.mark.parametrize(
    ("method", "values", "says"),
    [
        ("asge", {"batch_size": 127}, "127 cannot be divided by 2 .*--batch-size 128"),
        ("cafo", {}, "'least-squares' sums over all images .*--parallel layers"),
    ],
)
def test_what_shares_of_a_batch_cannot_do_is_refused(method, values, says):
    group = SimpleNamespace(rank=0, count=2, device=torch.device("cpu"), command="")
    with pytest.raises(InputError, match=f"--parallel data: .*{says}"):
        DataRanks(group).learner(make(method, **values), None, RUN)
