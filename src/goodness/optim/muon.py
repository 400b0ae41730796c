"""Muon (Jordan et al. 2024) for convolution kernels, as airbench trains CIFAR-10 with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from goodness.functional import orthogonalised
from goodness.optim.optimizers import OPTIMIZERS, Betas
from goodness.types import Fraction, NonNegative, Positive, PositiveInt

Rest = Literal["adamw", "sgd"]


@OPTIMIZERS.register("muon")
def muon(
    groups: Sequence[dict[str, Any]],
    *,
    lr: Positive = 0.1,
    momentum: Fraction = 0.6,
    iterations: PositiveInt = 3,
    renormalise: bool = True,
    rest: Rest = "adamw",
    rest_lr_scale: Positive = 0.05,
    rest_momentum: Fraction = 0.9,
    betas: Betas = (0.9, 0.999),
    weight_decay: NonNegative = 1e-2,
) -> torch.optim.Optimizer:
    """Muon on convolution kernels, AdamW or SGD on all else.

    Kernels of depthwise convolutions, whose matrices have one row each, count as all else.

    Args:
        groups: parameter groups.
        lr: rate of the kernels: relative to their norm, where it is kept.
        momentum: of the kernels' gradients (Nesterov).
        iterations: of Newton-Schulz.
        renormalise: keep the norm of a kernel at the root of its filters' number, which is right
            where a norm follows; else `weight_decay` shrinks kernels too.
        rest: what updates all else.
        rest_lr_scale: its rate as a multiple of ``lr``.
        rest_momentum: of ``"sgd"`` (Nesterov).
        betas: of ``"adamw"``.
        weight_decay: of all else, decoupled for ``"adamw"``.
    """
    kernels, others = [], []
    for group in groups:
        matrices = [p for p in group["params"] if _is_kernel(p)]
        vectors = [p for p in group["params"] if not _is_kernel(p)]
        if matrices:
            kernels.append({**group, "params": matrices})
        if vectors:
            factor = group.get("factor", 1.0) * rest_lr_scale
            others.append({**group, "params": vectors, "factor": factor})

    def make_rest(groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
        own: dict[str, Any] = {"lr": lr * rest_lr_scale, "weight_decay": weight_decay}
        if rest == "adamw":
            return torch.optim.AdamW(groups, betas=betas, **own, foreach=True)
        nesterov = rest_momentum > 0
        return torch.optim.SGD(
            groups, momentum=rest_momentum, nesterov=nesterov, **own, foreach=True
        )

    decay = 0.0 if renormalise else weight_decay
    return Muon(kernels, others, make_rest, lr, momentum, iterations, renormalise, decay)


def _is_kernel(parameter: nn.Parameter) -> bool:
    return parameter.dim() >= 3 and parameter.shape[0] > 1 and parameter.shape[1] > 1


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum on kernels; another optimizer on all else.

    v <- momentum v + g;  w <- w sqrt(C_out) / |w|;  w <- w - lr NS(g + momentum v), with NS the
    nearest matrix of equal singular values, found by Newton-Schulz iterations.

    Args:
        kernels: groups of convolution kernels (C_out, C_in, ...).
        others: groups of all else.
        make_rest: the optimizer of those.
        lr: rate of the kernels.
        momentum: of the kernels.
        iterations: of Newton-Schulz.
        renormalise: whether kernels keep their norm.
        weight_decay: of the kernels, decoupled.
    """

    def __init__(
        self,
        kernels: Sequence[dict[str, Any]],
        others: Sequence[dict[str, Any]],
        make_rest: Callable[[Sequence[dict[str, Any]]], torch.optim.Optimizer],
        lr: float,
        momentum: float,
        iterations: int,
        renormalise: bool,
        weight_decay: float,
    ) -> None:
        rest = make_rest(others) if others else None
        own = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        whole = [{**own, **group} for group in kernels] + (rest.param_groups if rest else [])
        self._kernel_groups = len(kernels)
        self._iterations = iterations
        self._renormalise = renormalise
        self._rest = rest
        super().__init__(whole, {})
        self._share()

    def _share(self) -> None:
        """Let the other optimizer see this one's groups and state, which are kept and restored."""
        if self._rest is not None:
            self._rest.param_groups = self.param_groups[self._kernel_groups :]
            self._rest.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As every optimizer's."""
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups[: self._kernel_groups]:
            for kernel in group["params"]:
                if kernel.grad is not None:
                    self._update(kernel, group)
        if self._rest is not None:
            self._rest.step()

    def _update(self, kernel: Tensor, group: dict[str, Any]) -> None:
        state, gradient, momentum = self.state[kernel], kernel.grad, group["momentum"]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(kernel)
        velocity: Tensor = state["momentum_buffer"].mul_(momentum).add_(gradient)
        direction = gradient.add(velocity, alpha=momentum)
        update = orthogonalised(direction.flatten(1), self._iterations)
        if self._renormalise:
            kernel.mul_(len(kernel) ** 0.5 / kernel.norm().clamp_min(1e-7))
        elif group["weight_decay"]:
            kernel.mul_(1 - group["lr"] * group["weight_decay"])
        kernel.sub_(update.view_as(kernel), alpha=group["lr"])
