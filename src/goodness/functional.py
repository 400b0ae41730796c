"""The mathematics as pure functions of tensors; the modules of the axes only hold the state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

T = TypeVar("T")


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
        ctx.save_for_forward(h)
        ctx.size = size
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

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (h,) = ctx.saved_tensors
        return F.avg_pool2d(2 * h * tangent, (h.shape[2] // ctx.size, h.shape[3] // ctx.size))


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
    power = x.square().mean(dim=tuple(range(1, x.dim())), keepdim=True)
    # The root of 0 has an infinite slope.
    return x / (power.clamp_min(torch.finfo(x.dtype).tiny).sqrt() + eps)


def stretch(items: Sequence[T], count: int) -> list[T]:
    """A list made for one depth of network, for another depth: each place takes the nearest item.

    >>> stretch([20, 20, 100, 100], 6)
    [20, 20, 20, 100, 100, 100]
    """
    last = len(items) - 1
    return [items[math.floor(i * last / max(count - 1, 1) + 0.5)] for i in range(count)]


def group_matrix(channels: int, groups: int) -> Tensor:
    """Averages channels over contiguous groups, one per class, as evenly as they divide.

    Returns:
        (channels, groups), each column sums to 1.

    >>> group_matrix(4, 2)
    tensor([[0.5000, 0.0000],
            [0.5000, 0.0000],
            [0.0000, 0.5000],
            [0.0000, 0.5000]])
    """
    member = F.one_hot(torch.arange(channels) * groups // channels, groups).float()
    return member / member.sum(0)


def margin_loss(scores: Tensor, y: Tensor, margin: float, smoothing: float = 0.0) -> Tensor:
    """log(1 + sum over wrong classes of exp(s_k - s_y + margin)): cross-entropy if margin is 0.

    Args:
        scores: (N, K).
        y: (N,).
        margin: how far the true class has to lead.
        smoothing: share of the target, 0 to 1, that is spread evenly over all classes.

    Returns:
        (N,), non-negative.
    """
    lead = margin * (1 - F.one_hot(y, scores.shape[1]).to(scores.dtype))
    return F.cross_entropy(scores + lead, y, reduction="none", label_smoothing=smoothing)


def sparsemax_loss(scores: Tensor, y: Tensor) -> Tensor:
    """-z_y + 1/2 sum over the support of (z_k^2 - tau^2) + 1/2 (Martins and Astudillo, 2016).

    Args:
        scores: z, (N, K).
        y: (N,).

    Returns:
        (N,), non-negative; the gradient by z is sparsemax(z) - onehot(y).
    """
    tau = _sparsemax_threshold(scores)
    # Only the classes above the threshold count.
    inside = scores > tau
    squares = (scores.square() - tau.square()) * inside
    return 0.5 * squares.sum(1) + 0.5 - scores.gather(1, y[:, None]).squeeze(1)


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the probability simplex that is nearest to each row (N, K).

    >>> sparsemax(torch.tensor([[1.0, 0.5, -2.0]]))
    tensor([[0.7500, 0.2500, 0.0000]])
    """
    return (scores - _sparsemax_threshold(scores)).clamp(min=0)


def _sparsemax_threshold(scores: Tensor) -> Tensor:
    """The tau at which max(0, z - tau) adds up to 1 in each row, (N, 1)."""
    ordered = scores.sort(dim=1, descending=True).values
    ranks = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    sums = ordered.cumsum(1)
    support = (1 + ranks * ordered > sums).sum(1, keepdim=True)
    return (sums.gather(1, support - 1) - 1) / support


def similarity_matrix(v: Tensor, eps: float = 1e-8) -> Tensor:
    """Cosine similarities between rows after each row's own mean is taken off it.

    Nøkland and Eidnes (arXiv 1901.06656).

    Args:
        v: (N, D).
        eps: added to the norms.

    Returns:
        (N, N), from -1 to 1.
    """
    centred = v - v.mean(1, keepdim=True)
    unit = centred / (centred.norm(dim=1, keepdim=True) + eps)
    return (unit @ unit.T).clamp(-1, 1)


def supervised_contrast(features: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (Khosla et al., arXiv 2004.11362, L_out), one view per image.

    Args:
        features: (N, D), made unit length here.
        y: (N,).
        temperature: divides the cosines.

    Returns:
        (N,); 0 for a row without another of its class in the batch.
    """
    unit = F.normalize(features, dim=1)
    logits = unit @ unit.T / temperature
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    log_p = logits - logits.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    positive = (y[:, None] == y) & ~itself
    count = positive.sum(1)
    return -log_p.masked_fill(~positive, 0).sum(1) / count.clamp(min=1)
