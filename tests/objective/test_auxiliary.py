"""DGL's, InfoPro's and TRGL's losses against their formulas; their networks are torch's own."""

from __future__ import annotations

import pytest
import torch
from formulas import Y, agree, block, context, cross_entropy, draw, make
from torch.nn import functional as F

from goodness.objective.auxiliary import head_network

HEADS = ["mlp-sr", "mlp", "1c2f", "linear"]


@pytest.mark.parametrize(
    ("name", "spec", "options"),
    [
        *(("auxiliary", block(), {"head": head}) for head in HEADS),
        ("information", block(index=3, count=4), {}),  # its last module only classifies
    ],
)
def test_cross_entropy_of_the_auxiliary_network(name, spec, options):
    objective = make(name, spec, **options).eval()

    def reference(z):
        return [cross_entropy(*row) for row in zip(objective.head(z), Y.tolist(), strict=True)]

    agree(objective, draw(), Y, reference)


@pytest.mark.parametrize("shape", [(8, 32, 32), (5, 7, 9), (4, 1, 1)])
@pytest.mark.parametrize("head", HEADS)
def test_heads_take_every_shape(head, shape):
    network = head_network(head, shape, num_classes=7, width=None, widest=6)

    assert network(torch.randn(3, *shape)).shape == (3, 7)


def test_mlp_sr_has_three_convolutions_three_wide_layers_and_a_linear_one():
    network = head_network("mlp-sr", (8, 16, 16), num_classes=7, width=None, widest=8)
    shapes = [tuple(p.shape) for p in network.parameters() if p.dim() > 1]

    assert shapes == [(8, 8, 1, 1)] * 3 + [(32, 32)] * 3 + [(7, 32)]


def test_dgl_s_last_head_has_two_wide_layers():
    objective = make("auxiliary", block(index=3, count=4), last="mlp")
    shapes = [tuple(p.shape) for p in objective.head.parameters() if p.dim() > 1]
    channels = block().features[0]
    wide = 4 * channels
    given = channels * 1 * 1  # maps of 2 x 4 are averaged to a quarter, one pixel
    assert shapes == [(wide, given), (wide, wide), (block().num_classes, wide)]
    inner = make("auxiliary", block(index=2, count=4), last="mlp")
    assert len([p for p in inner.head.parameters() if p.dim() > 1]) == 7


@pytest.mark.parametrize(("channels", "outputs", "stride"), [(16, 32, 2), (32, 64, 2), (64, 64, 1)])
def test_infopro_s_head_doubles_the_channels_up_to_the_widest(channels, outputs, stride):
    shape = channels, 8, 8
    conv, *_, last = head_network("1c2f", shape, num_classes=128, width=None, widest=64)
    assert (conv.out_channels, conv.stride, conv.kernel_size) == (outputs, (stride,) * 2, (3, 3))
    assert (last.in_features, last.out_features) == (128, 128)


@pytest.mark.parametrize(
    ("count", "first", "last"),
    [(2, (5, 0.5), (5, 0.5)), (4, (1, 0), (0, 1)), (9, (5, 0), (0, 1)), (30, (5, 0), (0.5, 1))],
)
def test_infopro_s_weights_are_those_of_its_commands(count, first, last):
    for index, expected in ((0, first), (count - 2, last)):
        objective = make("information", block(index=index, count=count))
        assert (objective.reconstruct, objective.classify) == expected
    final = make("information", block(index=count - 1, count=count))
    assert [type(layer).__name__ for layer in final.head] == [
        "AdaptiveAvgPool2d",
        "Flatten",
        "Linear",
    ]


@pytest.mark.parametrize(("index", "weights"), [(0, (5.0, 0.5)), (1, (3.0, 0.75)), (2, (1.0, 1.0))])
@pytest.mark.parametrize("task", ["ce", "contrast"])
def test_infopro_reconstructs_and_classifies(index, weights, task):
    spec = block(index=index, count=4)
    given = {"first": (5.0, 0.5), "last": (1.0, 1.0)}
    objective = make("information", spec, task=task, temperature=0.5, **given).eval()
    image = torch.randn(4, 2, 8, 8).double() * 3 + 1
    y = torch.tensor([0, 2, 0, 2])

    def reference(z):
        decoded, logits = torch.sigmoid(objective.decoder(z)), objective.head(z)
        unit = [a / torch.sqrt((a**2).sum()) for a in logits]
        losses = []
        for i, label in enumerate(y.tolist()):
            bce = 0.0
            for c in range(2):
                low, high = image[:, c].min(), image[:, c].max()
                t, p = (image[i, c] - low) / (high - low), decoded[i, c]
                bce = bce - (t * torch.log(p) + (1 - t) * torch.log(1 - p)).sum()
            if task == "ce":
                classified = cross_entropy(logits[i], label)
            else:
                twin = i ^ 2  # the other row of the same class
                total = sum(torch.exp(unit[i] @ unit[j] / 0.5) for j in range(4) if j != i)
                classified = -torch.log(torch.exp(unit[i] @ unit[twin] / 0.5) / total)
                probe = objective.classifier(logits[i].detach())
                bce = bce + cross_entropy(probe, label) * 128 / weights[0]
            losses.append(weights[0] * bce / 128 + weights[1] * classified)
        return losses

    h = draw()
    agree(objective, h, y, reference, context(h, image))


def test_trgl_charges_for_moving_the_features():
    objective = make("transport", tau=0.25).eval()
    h, x = draw(), draw(seed=5)
    given = context(h)
    given.input = x

    def reference(z):
        logits = objective.head(z)
        return [
            cross_entropy(logits[i], label) + ((z[i] - x[i]) ** 2).sum() / 96 / 0.5
            for i, label in enumerate(Y.tolist())
        ]

    agree(objective, h, Y, reference, given)


def test_moving_to_another_shape_is_free():
    free = make("transport", block(input=(2, 8, 8))).eval()
    h = draw()

    loss = free.loss(h, free.scores(h), Y, context(h))

    torch.testing.assert_close(loss, F.cross_entropy(free.scores(h), Y, reduction="none"))
