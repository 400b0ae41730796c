"""ASGE end to end: a learner's training step against one written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from goodness import build
from helpers import copied, learner_of, random_batch

IMAGE = (3, 9, 7)
CLASSES = 4
LR, DECAY = 1e-2, 1e-3
STEPS_PER_EPOCH, EPOCHS = 2, 2


class AdamWByHand:
    """Adam with decoupled weight decay, as in its paper's algorithm 2."""

    def __init__(self, parameters):
        self.parameters = parameters
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.time = 0

    def step(self, loss, lr):
        gradients = torch.autograd.grad(loss, self.parameters)
        self.time += 1
        with torch.no_grad():
            for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
                p -= lr * DECAY * p
                m.copy_(0.9 * m + 0.1 * g)
                v.copy_(0.999 * v + 0.001 * g * g)
                root = (v / (1 - 0.999**self.time)).sqrt()
                p -= lr * (m / (1 - 0.9**self.time)) / (root + 1e-8)


class AsgeByHand:
    """Two blocks, 5 and 10 wide, average pooling after the first; no dropout."""

    def __init__(self, network):
        state = copied(network.state_dict())
        self.convolutions = [
            [state[f"blocks.{i}.body.conv{i + 1}.{what}"] for what in ("weight", "bias")]
            for i in (0, 1)
        ]
        self.heads = [
            [state[f"blocks.{i}.objective.{what}"] for what in ("projection", "bias")]
            for i in (0, 1)
        ]
        self.fusion = [v for name, v in state.items() if "fusion" in name]
        for group in (*self.convolutions, self.fusion):
            for parameter in group:
                parameter.requires_grad_()
        self.optimizers = [AdamWByHand(group) for group in (*self.convolutions, self.fusion)]

    def step(self, image, y, step):
        epoch = step // STEPS_PER_EPOCH
        lr = LR * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS)))
        x = self.rms(image)
        losses = []
        for i, grid in enumerate((2, 1)):  # 10 / 5 and 10 / 10
            weight, bias = self.convolutions[i]
            h = F.conv2d(x, weight, bias, padding=1).relu()
            projection, offset = self.heads[i]
            a = self.goodness(h, grid) @ projection + offset
            loss = -a.log_softmax(1)[range(len(y)), y].mean()
            detached = h.detach()  # of the forward before the update
            self.optimizers[i].step(loss, lr)
            losses.append(loss.item())
            x = self.rms(self.pool(detached) if i == 0 else detached)
        # Fusion maps the outputs of every block but the first, averaged over the map.
        weight, bias = self.fusion
        fused = x.mean((2, 3)) @ weight.T + bias
        self.optimizers[2].step(-fused.log_softmax(1)[range(len(y)), y].mean(), lr)
        return losses

    @staticmethod
    def rms(x):
        return x / x.square().mean((1, 2, 3), keepdim=True).sqrt()

    @staticmethod
    def pool(h):
        """2 x 2 averages; an odd last row or column is dropped."""
        height, width = h.shape[2] // 2 * 2, h.shape[3] // 2 * 2
        h = h[:, :, :height, :width]
        return (
            h[:, :, ::2, ::2] + h[:, :, 1::2, ::2] + h[:, :, ::2, 1::2] + h[:, :, 1::2, 1::2]
        ) / 4

    @staticmethod
    def goodness(h, grid):
        """Channel-major mean squares; 9 and 7 pixels in 2 cells overlap by one."""
        height, width = h.shape[2:]
        cells = []
        for i in range(grid):
            for j in range(grid):
                top, bottom = i * height // grid, -((i + 1) * height // -grid)
                left, right = j * width // grid, -((j + 1) * width // -grid)
                cells.append(h[:, :, top:bottom, left:right].square().mean((2, 3)))
        return torch.stack(cells, dim=2).flatten(1)


@pytest.mark.parametrize("steps", [1, 3])
def test_training_steps_equal_a_hand_written_implementation(steps):
    network = build(
        "asge",
        image_shape=IMAGE,
        num_classes=CLASSES,
        model={"name": "small-cnn", "widths": [5, 10], "pools": [1]},
        boundary={"dropout": 0.0},
        lr=LR,
        weight_decay=DECAY,
    )
    assert isinstance(network[0].tail[0], torch.nn.AvgPool2d)
    assert len(network[1].tail) == 0
    initial = copied(network.state_dict())
    reference = AsgeByHand(network)
    learner = learner_of(network, (STEPS_PER_EPOCH, EPOCHS))
    for step in range(steps):
        image, y = random_batch(6, IMAGE, CLASSES, seed=step)
        report = learner.step(image, y)
        losses = reference.step(image, y, step)
        torch.testing.assert_close(torch.stack(report.losses).tolist(), losses, rtol=1e-4, atol=0)

    state = network.state_dict()
    expected = [parameter for group in reference.convolutions for parameter in group]
    names = [f"blocks.{i}.body.conv{i + 1}.{what}" for i in (0, 1) for what in ("weight", "bias")]
    expected += reference.fusion
    names += [name for name in state if "fusion" in name]
    assert len(names) == 6
    for name, value in zip(names, expected, strict=True):
        assert (state[name] - initial[name]).abs().max() > LR / 2, name  # it has learnt at all
        torch.testing.assert_close(state[name], value.detach(), rtol=0, atol=2e-5, msg=name)


def test_the_paper_s_values():
    network = build("asge", image_shape=(3, 32, 32), num_classes=10)
    config = network.config

    assert config.model["name"] == "vgg8"
    assert (config.epochs, config.batch_size) == (100, 128)
    assert config.optimizer["lr"] == 2e-4
    assert config.optimizer["weight_decay"] == 1e-3
    assert config.boundary["dropout"] == 0.1
    assert config.lr_schedule == {"name": "cosine", "warmup": 0.0, "final": 0.05, "every": "epoch"}
    assert [block["grid"] for block in network.facts()] == [4, 2, 2, 1, 1, 1, 1]
