"""The audit finds leaks that nobody declared."""

from __future__ import annotations

import copy

import pytest
import timm
import torch

from goodness import audit, build, localize
from goodness.methods import Locality
from goodness.objective.spatial_goodness import SpatialGoodness
from goodness.plan import Plan, Segment

IMAGE = (1, 8, 8)


def network(widths=(4, 5, 6, 7), **values):
    model = {"name": "small-cnn", "widths": list(widths), "pools": [1]}
    return build("asge-fast", image_shape=IMAGE, num_classes=3, model=model, **values)


class Listening(SpatialGoodness):
    """An objective that also looks at another block, with or without its graph.

    Attributes:
        others: in a list, so that the other block does not become a part of this one.
    """

    others: list
    with_graph: bool

    def loss(self, h, scores, y, look):
        heard = sum(p.square().mean() for block in self.others for p in block.parameters())
        heard = heard if self.with_graph else heard.detach()
        return super().loss(h, scores, y, look) * (1 + heard)


def listen(net, listener, speaker, with_graph):
    objective = net.blocks[listener].objective
    objective.__class__ = Listening
    objective.others = [net.blocks[speaker]]
    objective.with_graph = with_graph
    return net


def joined(net, size):
    """Let runs of ``size`` blocks share one graph and one loss: the chain is not detached."""

    class Joined(Plan):
        def segments(self):
            starts = range(0, self.count, size)
            return tuple(Segment(range(i, i + size), (i + size - 1,), i) for i in starts)

    net.schedule = Joined(len(net))
    return net


def test_a_network_without_leaks_is_local():
    report = audit(network())

    assert report.locality == Locality.LAYER
    for index, block in enumerate(report.blocks):
        assert block.touches
        assert all(name.startswith(f"blocks.{index}.") for name in block.touches)
        # What came before is its input; what comes after does not matter to it.
        assert block.depends_on == list(range(index))


def test_blocks_of_several_layers_are_local_by_block():
    assert audit(network(partition="block")).locality == Locality.BLOCK


def test_a_chain_that_is_not_detached_is_global():
    report = audit(joined(network(), 4))

    assert report.locality == Locality.GLOBAL
    assert {name.split(".")[1] for name in report.blocks[3].touches} == {"0", "1", "2", "3"}


def test_a_chain_that_is_not_detached_between_pairs_is_overlapping():
    assert audit(joined(network(), 2)).locality == Locality.OVERLAPPING


def test_two_blocks_that_share_a_graph_are_the_whole_network():
    assert audit(joined(network((4, 5)), 2)).locality == Locality.GLOBAL


@pytest.mark.parametrize("speaker", [2, 3])
def test_an_objective_that_hears_a_later_block_without_a_gradient_is_broadcast(speaker):
    report = audit(listen(network(), 1, speaker, with_graph=False))

    assert report.locality == Locality.BROADCAST
    assert speaker in report.blocks[1].depends_on
    assert speaker not in report.blocks[0].depends_on


@pytest.mark.parametrize(
    ("speaker", "found"), [(2, Locality.OVERLAPPING), (1, Locality.GLOBAL), (0, Locality.GLOBAL)]
)
def test_an_objective_that_sends_a_gradient_to_an_earlier_block(speaker, found):
    report = audit(listen(network(), 3, speaker, with_graph=True))

    assert report.locality == found
    assert f"blocks.{speaker}.body.conv{speaker + 1}.weight" in report.blocks[3].touches


def test_blocks_that_do_not_learn_leave_the_readout_alone():
    class Deaf(SpatialGoodness):
        def loss(self, h, scores, y, look):
            return super().loss(h, scores, y, look).detach().requires_grad_()

    net = network()
    for block in net:
        block.objective.__class__ = Deaf

    assert audit(net).locality == Locality.READOUT_ONLY


def test_the_audit_leaves_the_network_and_its_mode_as_they_were():
    net = network().eval()
    before = copy.deepcopy(net.state_dict())

    audit(net)

    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.training
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_report_reads_well():
    text = str(audit(network((4, 5))))

    assert text.startswith("locality: layer")
    assert "conv2: its loss reaches 3 tensors of conv2; a step changes 6 tensors of conv2" in text


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
    net = localize(model, method, partition, image_shape=(3, 16, 16), **length)
    assert audit(net).locality is found


def test_a_transformer_s_blocks():
    options = {"img_size": 16, "patch_size": 4, "depth": 2, "embed_dim": 12, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **options)
    report = audit(localize(model, "sff", "block", image_shape=(3, 16, 16)))

    assert report.locality is Locality.BLOCK
    for block in report.blocks:
        assert all(name.startswith(f"blocks.{block.index}.") for name in block.touches)
