"""The tracker of live bytes, against counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from goodness.profiling.memory import LiveBytes

KIB = 1024
FLOATS = 256  # of one KiB


def test_counts_what_is_alive_at_once():
    with LiveBytes() as tracker:
        first = torch.zeros(2 * FLOATS)  # 2 KiB
        second = first + 1  # 4 in all
        del first
        third = second * 2  # 4: the first is gone
        del second, third
        torch.zeros(FLOATS)

    assert tracker.peak == 4 * KIB


def test_views_and_writing_in_place_add_nothing():
    before = torch.zeros(FLOATS)
    with LiveBytes() as tracker:
        before.add_(1)
        before.reshape(16, 16).t()
        made = torch.zeros(FLOATS)
        made.view(2, -1).mul_(3)

    assert tracker.peak == KIB


def test_a_backward_pass_by_hand():
    """h = relu(x w): what autograd keeps, and gradients counted apart once they are complete."""
    x, w = torch.randn(64, 16), nn.Parameter(torch.randn(16, 64))
    with LiveBytes([w]) as tracker:
        z = x @ w  # 16 KiB
        h = z.relu()  # 32: relu keeps its output, z is still named
        loss = h.sum()  # and 4 bytes
        loss.backward()

    # dh is a number spread out; dz has 16 KiB, beside z and h; then dw has 4.
    assert tracker.peak == 3 * 16 * KIB + 2 * 4 + 4 * KIB
    assert tracker.peak_activations == tracker.peak

    del z, h, loss
    with LiveBytes([w]) as tracker:
        (x @ w).relu().sum().backward()
        assert w.grad is not None
        torch.zeros(64 * FLOATS)  # 64 KiB beside nothing but the gradient, which was there before

    assert tracker.peak == 64 * KIB


def test_complete_gradients_are_no_activations():
    w = nn.Parameter(torch.randn(FLOATS))
    with LiveBytes([w]) as tracker:
        w.sum().backward()
        tracker.reset()
        torch.zeros(8 * FLOATS)

    assert tracker.peak == 9 * KIB
    assert tracker.peak_activations == 8 * KIB


def test_the_hooks_are_gone_afterwards():
    w = nn.Parameter(torch.randn(4))
    with LiveBytes([w]):
        pass

    assert not w._post_accumulate_grad_hooks


@pytest.mark.parametrize("depth", [2, 6])
def test_a_chain_keeps_every_activation(depth):
    """Backprop through ReLUs that do not work in place keeps one map per layer, and the gradient
    passes through two at a time."""
    x = torch.randn(FLOATS, requires_grad=True)
    with LiveBytes() as tracker:
        y = x
        for _ in range(depth):
            y = y.relu()
        y.backward(torch.ones(FLOATS))

    # The maps, the ones given, and two gradients on the way.
    assert tracker.peak == (depth + 3) * KIB
