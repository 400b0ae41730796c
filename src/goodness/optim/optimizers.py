"""Optimizers by name. Every owner of a segment has its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import nn

from goodness.errors import InputError, reason, unknown
from goodness.registry import Registry
from goodness.types import Fraction, NonNegative, Positive

FAMILY = "timm"
UNFIT = {
    "adahessian": "needs second derivatives of the loss",
    "kron": "draws random numbers that a resumed run cannot draw again",
}
"""Those of timm that cannot be used here, by the beginning of their names."""


class Optimizers(Registry[Callable[..., torch.optim.Optimizer]]):
    """The optimizers of this package, and ``timm/<name>`` for those of timm."""

    def __getitem__(self, name: str) -> Callable[..., torch.optim.Optimizer]:
        family, slash, optimizer = name.partition("/")
        if slash and family == FAMILY:
            return _from_timm(optimizer)
        return super().__getitem__(name)


OPTIMIZERS = Optimizers("optimizer", __package__)
"""Functions ``(parameter groups, *, options) -> torch.optim.Optimizer``. A group's ``factor``
multiplies the learning rate."""
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


@cache
def timm_optimizers() -> tuple[str, ...]:
    """The optimizers of timm that need no other package."""
    import timm.optim  # late: it takes seconds

    others = [*(f"{name}*" for name in UNFIT), "bnb*", "fused*"]  # bitsandbytes and apex
    return tuple(map(str, timm.optim.list_optimizers(exclude_filters=others)))


@cache
def _from_timm(optimizer: str) -> Callable[..., torch.optim.Optimizer]:
    """The maker of an optimizer of timm.

    Raises:
        InputError: a name that timm does not have, or an optimizer that cannot be used here.
    """
    for unfit, why in UNFIT.items():
        if optimizer.startswith(unfit):
            raise InputError(f"optimizer '{FAMILY}/{optimizer}' {why}")
    if optimizer not in timm_optimizers():
        names = [f"{FAMILY}/{name}" for name in timm_optimizers()]
        raise unknown("optimizer", f"{FAMILY}/{optimizer}", names)

    def make(
        parameters: Iterable[nn.Parameter],
        *,
        lr: Positive = 1e-3,
        weight_decay: NonNegative = 0.0,
        args: dict[str, Any] = {},  # noqa: B006
    ) -> torch.optim.Optimizer:
        """An optimizer of timm.

        Args:
            parameters: parameter groups.
            lr: learning rate.
            weight_decay: in the optimizer's own way.
            args: for the optimizer's own constructor, e.g. its momentum.
        """
        import timm.optim

        given = {"lr": lr, "weight_decay": weight_decay, **args}
        try:
            return timm.optim.create_optimizer_v2(parameters, optimizer, **given)
        except Exception as error:  # whatever a constructor makes of values it does not expect
            shown = ", ".join(f"{key}={value!r}" for key, value in given.items())
            raise InputError(
                f"optimizer '{FAMILY}/{optimizer}' cannot be made with {shown}: {reason(error)}"
            ) from None

    return make
