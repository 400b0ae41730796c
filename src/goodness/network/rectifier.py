from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn


class OpenReLU(nn.Module):
    """A ReLU that works in place and lets every gradient through.

    It stands at the end of a block whose objective has no gradient where the activation is zero, or
    masks it itself (`goodness.objective.Objective.masks`): the ReLU's own mask would cost a pass
    over the map, and a second map.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        if not torch.is_grad_enabled():
            return x.relu_()
        opened: Tensor = _Open.apply(x)
        return opened


class _Open(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x.relu_()
        ctx.mark_dirty(x)
        return x  # itself: torch.compile knows it again by that

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def with_open_end(body: nn.Module) -> nn.Module:
    """The same layers, with an `OpenReLU` where they end with a ReLU that works in place."""
    if not isinstance(body, nn.Sequential) or not body:
        return body
    *front, (name, last) = body.named_children()
    if not isinstance(last, nn.ReLU) or not last.inplace:
        return body
    return nn.Sequential(OrderedDict([*front, (name, OpenReLU())]))
