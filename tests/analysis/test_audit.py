"""The audit finds leaks that nobody declared."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.func import functional_call
from torch.func import grad as functional_gradient
from torch.nn import functional as F

from goodness import InputError, audit, localize
from goodness.methods import Locality
from goodness.objective.spatial_goodness import SpatialGoodness
from goodness.plan import Plan, Segment
from goodness.plan.pairs import Pairs
from goodness.readout.linear import Fusion
from helpers import copied, same, tiny_network


def network(widths=(4, 5, 6, 7), **values):
    model = {"name": "small-cnn", "widths": list(widths), "pools": [1]}
    return tiny_network(num_classes=3, model=model, **values)


class Listening(SpatialGoodness):
    """An objective that also looks at another block, with or without its graph.

    Attributes:
        others: in a list, so that the other block does not become a part of this one.
        since: the first of its own losses to do so.
    """

    others: list
    with_graph = False
    since = 0
    losses = 0

    def loss(self, h, scores, y, context):
        self.losses += 1
        loss = super().loss(h, scores, y, context)
        if self.losses <= self.since:
            return loss
        heard = sum(p.square().mean() for block in self.others for p in block.parameters())
        return loss * (1 + (heard if self.with_graph else heard.detach()))


def swap(net, index, kind, **attributes):
    """Make another kind of objective of a block's."""
    objective = net[index].objective
    objective.__class__ = kind
    vars(objective).update(attributes)
    return objective


def listen(net, listener, speaker, **attributes):
    swap(net, listener, Listening, others=[net[speaker]], **attributes)
    return net


def joined(net, size):
    """Let runs of ``size`` blocks share one graph and one loss: the chain is not detached."""

    class Joined(Plan):
        def segments(self):
            starts = range(0, self.count, size)
            return tuple(Segment(range(i, i + size), (i + size - 1,), i) for i in starts)

    net.plan = Joined(len(net))
    return net


def sound(report):
    """Whether no gradient is where it does not belong."""
    foreign = any(block.foreign for block in report.blocks)
    return not (foreign or report.left or report.readouts)


def places(names):
    """The blocks of parameters."""
    return {int(name.split(".")[1]) for name in names}


def test_a_network_without_leaks_is_local():
    report = audit(network())

    assert report.locality == Locality.LAYER
    assert sound(report)
    for index, block in enumerate(report.blocks):
        assert places(block.touches) == {index}
        # What came before is its input; what comes after does not matter to it.
        assert block.depends_on == list(range(index))
        assert not block.hears


def test_blocks_of_several_layers_are_local_by_block():
    assert audit(network(partition="block")).locality == Locality.BLOCK


def test_a_chain_that_is_not_detached_is_global():
    report = audit(joined(network(), 4))

    assert report.locality == Locality.GLOBAL
    assert places(report.blocks[3].touches) == {0, 1, 2, 3}


def test_a_chain_that_is_not_detached_between_pairs_is_overlapping():
    assert audit(joined(network(), 2)).locality == Locality.OVERLAPPING


def test_two_blocks_that_share_a_graph_are_the_whole_network():
    assert audit(joined(network((4, 5)), 2)).locality == Locality.GLOBAL
    assert audit(network((4, 5, 6), method="backprop", freeze_until="1")).locality == (
        Locality.GLOBAL
    )


# What later blocks tell earlier ones without a gradient.


@pytest.mark.parametrize("speaker", [2, 3])
@pytest.mark.parametrize("since", [0, 2])
def test_an_objective_that_hears_a_later_block_without_a_gradient_is_broadcast(speaker, since):
    """Also if it does so from its third step on."""
    report = audit(listen(network(), 1, speaker, since=since))

    assert report.locality == Locality.BROADCAST
    assert speaker in report.blocks[1].depends_on
    assert f"conv{speaker + 1}" in report.blocks[1].hears
    assert speaker not in report.blocks[0].depends_on
    assert not report.blocks[0].hears
    assert "it hears without a gradient: conv3" in str(report)


class Noting(SpatialGoodness):
    """Keeps its error, in a memory that it shares with others and in a buffer."""

    def loss(self, h, scores, y, context):
        loss = super().loss(h, scores, y, context)
        self.error = scores.detach().softmax(1) - F.one_hot(y, scores.shape[1])
        self.memory["error"] = self.error
        return loss


class Recalling(SpatialGoodness):
    """Learns from the error in the memory, which is of the step before."""

    def recall(self):
        return self.memory.get("error")

    def loss(self, h, scores, y, context):
        loss, error = super().loss(h, scores, y, context), self.recall()
        return loss if error is None else loss + (scores * error).sum(1)


class Peeping(Recalling):
    """Finds it in the other block's buffer."""

    def recall(self):
        return self.others[0].objective.error


class Closing(Recalling):
    """Takes it over when an epoch ends."""

    def recall(self):
        return None

    def end_epoch(self):
        self.bias.add_(self.memory["error"].mean(0))


@pytest.mark.parametrize("listener", [Recalling, Peeping, Closing])
def test_an_error_of_an_earlier_step_is_broadcast(listener):
    net, memory = network(), {}
    swap(net, 3, Noting, memory=memory).register_buffer("error", None)
    swap(net, 0, listener, memory=memory, others=[net[3]])
    report = audit(net)

    assert report.locality == Locality.BROADCAST
    assert "conv4" in report.blocks[0].hears
    assert not memory
    assert net[3].objective.error is None


class Gated(SpatialGoodness):
    """Learns from the images alone that the last block gets wrong."""

    needs_later_scores = True

    def loss(self, h, scores, y, context):
        wrong = context.later_scores[-1].argmax(1) != y
        return super().loss(h, scores, y, context) * wrong


class OnceWrong(Gated):
    """Learns if the last block gets the first image wrong."""

    def loss(self, h, scores, y, context):
        wrong = context.later_scores[-1].argmax(1) != y
        return SpatialGoodness.loss(self, h, scores, y, context) * wrong[0]


@pytest.mark.parametrize("gate", [Gated, OnceWrong])
def test_learning_that_the_last_block_s_answer_gates_is_broadcast(gate):
    net = network()
    swap(net, 0, gate)
    report = audit(net)

    assert report.locality == Locality.BROADCAST
    assert "conv4" in report.blocks[0].hears


def test_negatives_that_the_last_block_chooses_are_broadcast():
    net = network(method="ff-cnn")

    class Chosen(type(net.presentation)):
        def training_rows(self, images, y):
            positive, negative = super().training_rows(images, y).chunk(2)
            seen = self.judge[0].body(images.expand(-1, 6, -1, -1)).flatten(1).sum(1)
            worse = seen > seen.mean()
            return torch.cat([positive, torch.where(worse[:, None, None, None], -1, 1) * negative])

    net.presentation.__class__ = Chosen
    net.presentation.judge = [net[3]]
    report = audit(net)

    assert report.locality == Locality.BROADCAST
    assert "conv4" in report.blocks[0].hears


def test_what_a_function_has_closed_over_is_heard_too():
    """It is not copied along with the network."""
    net = network()

    class Closed(SpatialGoodness):
        def loss(self, h, scores, y, context):
            heard = net[3].body.conv4.weight.square().mean()
            return super().loss(h, scores, y, context) * (1 + heard.detach())

    swap(net, 1, Closed)
    before = copied(net.state_dict())
    report = audit(net)

    assert report.locality == Locality.BROADCAST
    assert report.blocks[1].hears == ["conv4"]
    assert same(net.state_dict(), before)


def test_a_block_that_hears_a_readout_is_broadcast():
    net = network(readouts={"fusion": {"start": 0.5}})
    swap(net, 3, Listening, others=[net.readouts["fusion"]])
    report = audit(net)

    assert report.locality == Locality.BROADCAST
    assert [block.hears for block in report.blocks] == [[], [], [], ["readouts"]]


def test_an_objective_that_writes_into_an_earlier_block():
    class Writing(SpatialGoodness):
        @torch.no_grad()
        def observe(self, h, y):
            self.others[0].body.conv1.weight.add_(h.mean())

    net = network()
    swap(net, 3, Writing, others=[net[0]])
    report = audit(net)

    assert report.locality == Locality.GLOBAL
    assert report.blocks[3].foreign == ["blocks.0.body.conv1.weight"]
    assert 3 in report.blocks[0].depends_on


# Gradients that reach too far.


@pytest.mark.parametrize(
    ("speaker", "found"), [(2, Locality.OVERLAPPING), (1, Locality.GLOBAL), (0, Locality.GLOBAL)]
)
def test_an_objective_that_sends_a_gradient_to_an_earlier_block(speaker, found):
    report = audit(listen(network(), 3, speaker, with_graph=True))

    assert report.locality == found
    assert f"blocks.{speaker}.body.conv{speaker + 1}.weight" in report.blocks[3].touches
    assert places(report.blocks[3].foreign) == {speaker}
    assert places(report.left) == {speaker}


@pytest.mark.parametrize(
    ("speaker", "found"), [(1, Locality.OVERLAPPING), (2, Locality.GLOBAL), (3, Locality.GLOBAL)]
)
def test_an_objective_that_sends_a_gradient_to_a_later_block(speaker, found):
    report = audit(listen(network(), 0, speaker, with_graph=True))

    assert report.locality == found
    assert report.blocks[0].reaches_later == [speaker]
    assert places(report.blocks[0].foreign) == {speaker}


class Through(SpatialGoodness):
    """Learns from the last block's loss, of which it computes the gradient itself."""

    def last_loss(self, x, y, detached):
        for block in self.others:
            weights = dict(block.named_parameters())
            if detached:
                weights = {name: weight.detach() for name, weight in weights.items()}
            x = functional_call(block, weights, (x,))
        return F.cross_entropy(x.mean((2, 3))[:, :3], y, reduction="none")


class Onwards(Through):
    def loss(self, h, scores, y, context):
        return self.last_loss(self.mine[0].output(h), y, detached=False)


class OnwardsDetached(Through):
    def loss(self, h, scores, y, context):
        return self.last_loss(self.mine[0].output(h), y, detached=True)


class ByHand(Through):
    def loss(self, h, scores, y, context):
        x = h.detach().requires_grad_()
        (error,) = torch.autograd.grad(self.last_loss(self.mine[0].output(x), y, True).sum(), x)
        return (h * error).flatten(1).sum(1)


@pytest.mark.parametrize("kind", [Onwards, OnwardsDetached, ByHand])
def test_backprop_through_later_blocks_is_global(kind):
    """Whether or not it leaves a gradient in them."""
    net = network()
    swap(net, 0, kind, mine=[net[0]], others=[net[1], net[2], net[3]])
    report = audit(net)

    assert report.locality == Locality.GLOBAL
    assert report.blocks[0].reaches_later == [1, 2, 3]
    assert places(report.blocks[0].foreign) == {1, 2, 3}


def test_a_gradient_of_unknown_origin_is_global():
    class Afterwards(SpatialGoodness):
        @torch.enable_grad()
        def end_epoch(self):
            self.others[0].body.conv1.weight.sum().backward()

    net = network()
    swap(net, 3, Afterwards, others=[net[0]])
    report = audit(net)

    assert report.left == ["blocks.0.body.conv1.weight"]
    assert report.locality == Locality.GLOBAL
    assert "a step leaves gradients behind: 1 tensor of conv1" in str(report)


def test_gradients_of_the_user_s_stay():
    net = listen(network(), 0, 3, with_graph=True)
    for parameter in net[0].parameters():
        parameter.grad = torch.ones_like(parameter)
    audit(net)

    assert all((parameter.grad == 1).all() for parameter in net[0].parameters())
    assert all(parameter.grad is None for parameter in net[3].parameters())


def test_objectives_may_use_functional_gradients():
    class Functional(SpatialGoodness):
        def loss(self, h, scores, y, context):
            slope = functional_gradient(lambda x: x.square().mean())(h.detach())
            return super().loss(h, scores, y, context) + (h * slope).flatten(1).sum(1)

    net = network()
    swap(net, 0, Functional)
    report = audit(net)

    assert report.locality == Locality.LAYER
    assert sound(report)


# Readouts.


class Greedy(Fusion):
    """A readout that knows a block."""

    others: list


class Graph(Greedy):
    """Its loss has a gradient for the block."""

    def loss(self, totals, y):
        return super().loss(totals, y) + self.others[0].body.conv2.weight.square().sum()


class Owning(Graph):
    """And its optimizer has the block's weights."""

    def parameters(self, recurse=True):
        yield from super().parameters(recurse)
        yield self.others[0].body.conv2.weight


class Writing(Greedy):
    """It changes the block's weights."""

    def loss(self, totals, y):
        self.others[0].body.conv2.weight.data.mul_(0.9)
        return super().loss(totals, y)


class Leaving(Greedy):
    """It leaves a gradient in the block."""

    def loss(self, totals, y):
        self.others[0].body.conv2.weight.square().sum().backward()
        return super().loss(totals, y)


@pytest.mark.parametrize("kind", [Graph, Owning, Writing, Leaving])
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_a_readout_that_reaches_a_block_is_global(kind, start):
    """Also if it begins to learn late in the run."""
    net = network(readouts={"fusion": {"start": start}, "probe": {}})
    readout = net.readouts["fusion"]
    readout.__class__ = kind
    readout.others = [net[1]]
    report = audit(net)

    assert report.locality == Locality.GLOBAL
    assert report.readouts == {"fusion": ["blocks.1.body.conv2.weight"]}
    assert "readout fusion: its loss reaches 1 tensor of conv2" in str(report)


def test_a_readout_that_has_closed_over_a_block():
    net = network(readouts={"fusion": {}})

    class Closed(Fusion):
        def loss(self, totals, y):
            return super().loss(totals, y) + net[0].body.conv1.weight.square().sum()

    net.readouts["fusion"].__class__ = Closed
    report = audit(net)

    assert report.readouts == {"fusion": ["blocks.0.body.conv1.weight"]}
    assert report.locality == Locality.GLOBAL


# Overlapping pairs.


def test_overlapping_pairs_reach_the_first_block_over_several_steps():
    report = audit(network(method="trifecta"))

    assert report.locality == Locality.OVERLAPPING
    assert sound(report)
    assert report.blocks[0].depends_on == [1, 2, 3]
    assert not any(block.hears for block in report.blocks)


@pytest.mark.parametrize("listener", [1, 2])
@pytest.mark.parametrize("since", [0, 1])
def test_pairs_with_a_message_from_further_away_are_global(listener, since):
    """News that came through the weights would be later."""
    net = network((4, 5, 6, 7, 8))
    net.plan = Pairs(len(net))
    report = audit(listen(net, listener, 4, since=since))

    assert report.locality == Locality.GLOBAL
    assert "conv5" in report.blocks[listener].hears


# Blocks that do not learn.


def test_blocks_that_do_not_learn_leave_the_readout_alone():
    class Deaf(SpatialGoodness):
        def loss(self, h, scores, y, context):
            return super().loss(h, scores, y, context).detach().requires_grad_()

    net = network()
    for index in range(len(net)):
        swap(net, index, Deaf)

    assert audit(net).locality == Locality.READOUT_ONLY


def test_blocks_that_learn_without_a_gradient_do_learn():
    class Hebbian(SpatialGoodness):
        def loss(self, h, scores, y, context):
            return super().loss(h, scores, y, context).detach().requires_grad_()

        @torch.no_grad()
        def observe(self, h, y):
            for weight in self.others[0].body.parameters():
                weight.add_(h.mean())

    net = network()
    for index in range(len(net)):
        swap(net, index, Hebbian, others=[net[index]])

    assert audit(net).locality == Locality.LAYER


# The report.


def test_the_audit_leaves_the_network_and_its_mode_as_they_were():
    net = network().eval()
    before = copied(net.state_dict())

    audit(net)

    assert same(net.state_dict(), before)
    assert not net.training
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_report_reads_well():
    text = str(audit(network((4, 5))))

    assert text.startswith("locality: layer")
    assert "conv2: its loss reaches 3 tensors of conv2; a step changes 6 tensors of conv2" in text
    assert "hears" not in text
    assert len(text.splitlines()) == 3


def test_a_plain_model_is_refused():
    with pytest.raises(InputError, match=r"goodness\.localize"):
        audit(nn.Linear(2, 3))


@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_mixed_precision_and_accumulation_hide_nothing(amp):
    """Blocks share the loss scale of fp16, which is no news of a later block."""
    values = {"amp": amp, "accumulate_steps": 8, "ema": 0.9}

    assert audit(network(**values)).locality == Locality.LAYER
    assert audit(listen(network(**values), 0, 3)).locality == Locality.BROADCAST


@pytest.mark.parametrize(
    ("method", "partition", "found"),
    [
        ("sff", "block", Locality.BLOCK),
        ("asge", "stage", Locality.BLOCK),
        ("distance-forward", "block", Locality.OVERLAPPING),
        ("cafo-dfa", "block", Locality.BROADCAST),
        ("cafo", "block", Locality.READOUT_ONLY),
        ("backprop", "block", Locality.GLOBAL),
    ],
)
def test_a_residual_network_s_blocks(method, partition, found):
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=3, channels=[4, 4, 8, 8], stem_width=4)
    length = {"epochs": 1, "steps_per_epoch": 4}
    report = audit(localize(model, method, partition, image_shape=(3, 16, 16), **length))

    assert report.locality is found
    assert sound(report)


def test_a_transformer_s_blocks():
    options = {"img_size": 16, "patch_size": 4, "depth": 2, "embed_dim": 12, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **options)
    report = audit(localize(model, "sff", "block", image_shape=(3, 16, 16)))

    assert report.locality is Locality.BLOCK
    assert all(places(block.touches) == {block.index} for block in report.blocks)
