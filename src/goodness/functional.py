"""The mathematics as pure functions of tensors; the modules of the axes only hold the state."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def pooled_squares(h: Tensor, size: int) -> Tensor:
    """Spatial goodness: each channel's mean square over the cells of a ``size`` x ``size`` grid.

    ASGE (arXiv 2509.12394): g = flatten(adaptive_avg_pool(h^2, P x P)).

    Args:
        h: activations (N, C, H, W).
        size: cells per side, P, 1 <= P <= min(H, W).

    Returns:
        (N, C * P * P), non-negative, channel-major.

    >>> pooled_squares(torch.tensor([[[[1.0, 3.0], [1.0, 1.0]]]]), 1)
    tensor([[3.]])
    """
    height, width = h.shape[-2:]
    if height % size == 0 and width % size == 0:
        pooled: Tensor = _PooledSquares.apply(h, size)
    else:
        pooled = F.adaptive_avg_pool2d(h.square(), size)
    return pooled.flatten(1)


class _PooledSquares(torch.autograd.Function):
    """Mean squares over equal cells; keeps the activations alone, not their squares.

    The gradient is 2 h g / cell, with the cell's g spread over it: one pass over the map.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(h)
        return F.avg_pool2d(h.square(), (h.shape[2] // size, h.shape[3] // size))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (h,) = ctx.saved_tensors
        size = gradient.shape[-1]
        cell = h.shape[2] // size, h.shape[3] // size
        scaled = gradient * (2 / (cell[0] * cell[1]))
        # (N, C, P, a, P, b) * (N, C, P, 1, P, 1): a view, whatever the memory format.
        cells = h.unflatten(3, (size, cell[1])).unflatten(2, (size, cell[0]))
        product = cells * scaled[:, :, :, None, :, None]
        return product.flatten(4, 5).flatten(2, 3), None


def goodness_grid(channels: int, reference: int, alpha: float, height: int, width: int) -> int:
    """ASGE's adaptive grid: P = clamp(round(alpha * reference / channels), 1, min(height, width)).

    Narrow blocks get a fine grid, so that C * P stays near ``alpha * reference``.

    >>> [goodness_grid(c, 512, 1.0, 32, 32) for c in (64, 128, 256, 512)]
    [8, 4, 2, 1]
    """
    # Half rounds up, as in the field's formulas; Python's round() would send 2.5 to 2.
    wanted = math.floor(alpha * reference / channels + 0.5)
    return max(1, min(wanted, height, width))


def rms_normalise(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Each sample divided by its root mean square over (C, H, W); scale only, no centring.

    Args:
        x: (N, C, H, W).
        eps: added to the root, so that an all-zero sample stays zero.

    Returns:
        (N, C, H, W) with mean square 1 per sample.
    """
    return x / (x.square().mean(dim=tuple(range(1, x.dim())), keepdim=True).sqrt() + eps)
