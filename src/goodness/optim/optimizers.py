"""torch's optimizers by name. Every owner of a segment has its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from goodness.registry import Registry

OPTIMIZERS: Registry[Callable[..., torch.optim.Optimizer]] = Registry("optimizer")
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = tuple[Beta, Beta]


@OPTIMIZERS.register("adamw")
def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Rate = 1e-3,
    weight_decay: Decay = 1e-2,
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
    lr: Rate = 1e-3,
    weight_decay: Decay = 0.0,
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
    lr: Rate = 0.1,
    weight_decay: Decay = 0.0,
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9,
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
