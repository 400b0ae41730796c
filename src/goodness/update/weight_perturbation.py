"""Weights perturbed in both directions at once (SPSA; Spall 1992)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from goodness.types import Positive, PositiveInt
from goodness.update.base import UPDATES, Update

if TYPE_CHECKING:
    from goodness.network.block import Block


@UPDATES.register("weight-perturbation")
class WeightPerturbation(Update):
    """No derivative of a block's body: its own loss with all weights moved a little, both ways.

    With v of random signs, one per weight of the body, ``(L(w + sigma v) - L(w - sigma v)) /
    (2 sigma) v`` is the gradient on average, up to sigma squared (Spall 1992, antithetic SPSA). The
    body may be any function of tensors: quantised, noisy, on other hardware. The head, which is
    ours, learns from its exact gradient. What a body draws at random it draws alike for both
    directions. The estimate's cosine to the gradient grows with the square root of the number of
    samples, and falls with that of the number of weights.

    Args:
        samples: directions per step; each takes two forward passes.
        sigma: how far a weight is moved.
    """

    records_body = False
    differentiates = False
    adds = True
    evaluates = True

    def __init__(self, *, samples: PositiveInt = 4, sigma: Positive = 1e-2) -> None:
        self.samples = samples
        self.sigma = sigma

    def backward(self, rows: Tensor, factor: Tensor | None) -> None:
        """The head's gradient; that of the body is estimated."""
        if rows.requires_grad:
            (rows if factor is None else rows * factor).mean().backward()

    @torch.no_grad()
    def estimate(
        self, blocks: Sequence[Block], losses: Callable[[], Tensor], draws: torch.Generator
    ) -> None:
        """Add the estimates to the gradients of what the bodies learn."""
        learnt = [p for block in blocks for p in block.body.parameters() if p.requires_grad]
        if not learnt:
            return
        before = [parameter.clone() for parameter in learnt]
        try:
            for _ in range(self.samples):
                signs = [_signs(parameter, draws) for parameter in learnt]
                found = []
                for way in (self.sigma, -self.sigma):
                    for parameter, value, sign in zip(learnt, before, signs, strict=True):
                        torch.add(value, sign, alpha=way, out=parameter)
                    found.append(losses().mean())
                slope = (found[0] - found[1]) / (2 * self.sigma * self.samples)
                for parameter, sign in zip(learnt, signs, strict=True):
                    _add(parameter, sign * slope)
        finally:
            for parameter, value in zip(learnt, before, strict=True):
                parameter.copy_(value)


def _signs(parameter: nn.Parameter, draws: torch.Generator) -> Tensor:
    """-1 or 1 for each weight, laid out as they are."""
    drawn = torch.randint(0, 2, parameter.shape, generator=draws, device=draws.device)
    return torch.empty_like(parameter).copy_(drawn * 2 - 1)


def _add(parameter: nn.Parameter, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
