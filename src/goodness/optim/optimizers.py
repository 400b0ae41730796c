"""torch's optimizers by name. Every owner of a segment has its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from goodness.registry import Registry
from goodness.types import Fraction, NonNegative, Positive

OPTIMIZERS: Registry[Callable[..., torch.optim.Optimizer]] = Registry("optimizer")
Betas = tuple[Fraction, Fraction]


@OPTIMIZERS.register("adamw")
def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Positive = 1e-3,
    weight_decay: NonNegative = 1e-2,
    betas: Betas = (0.9, 0.999),
    eps: float = 1e-8,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay."""
    return torch.optim.AdamW(
        parameters, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=True
    )


@OPTIMIZERS.register("adam")
def adam(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Positive = 1e-3,
    weight_decay: NonNegative = 0.0,
    betas: Betas = (0.9, 0.999),
    eps: float = 1e-8,
) -> torch.optim.Optimizer:
    """Adam."""
    return torch.optim.Adam(
        parameters, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=True
    )


@OPTIMIZERS.register("sgd")
def sgd(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Positive = 0.1,
    weight_decay: NonNegative = 0.0,
    momentum: Fraction = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum.

    Not fused: torch's fused kernel leaves the momentum as it finds it, memory never written to,
    when gradients overflow at the first step, as they do in fp16.
    """
    return torch.optim.SGD(
        parameters,
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        nesterov=nesterov,
        foreach=True,
    )
