"""Convolutions whose neurons send spikes over time instead of numbers."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, Literal

import torch
from torch import Tensor, nn

from goodness.models.base import MODELS
from goodness.models.cnn import NORMS, POOLS, Counts, Layer, Norm, Pool, Recipe, drawn, layers_of
from goodness.types import Finite, PositiveInt, Shape, Share


class SpikingLayer(nn.Module):
    """Convolution, pooling and norm at every time step: the currents of the next neurons.

    Args:
        layer: the convolution and whether it is pooled.
        norm: of each channel over images, steps and positions.
        pool: of the currents, so that what is sent stays 0 or 1.
        steps: S; None: what comes in is an image (N, C, H, W), the same at every step, and so are
            its currents, which are computed once: S = 1 in what comes out.
    """

    def __init__(self, layer: Layer, norm: Norm, pool: Pool, steps: int | None) -> None:
        super().__init__()
        self.steps = steps
        size, bias = layer.kernel, norm == "none"
        self.conv = drawn(
            nn.Conv2d(layer.inputs, layer.outputs, size, padding=size // 2, bias=bias)
        )
        self.pool = POOLS[pool](2) if layer.pooled else nn.Identity()
        self.norm = NORMS[norm](layer.outputs) if norm in NORMS else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, S, C, H, W), or an image (N, C, H, W), to currents (N, S, D, H', W')."""
        if self.steps is None:
            return self.norm(self.pool(self.conv(x))).unsqueeze(1)
        currents = self.norm(self.pool(self.conv(x.flatten(0, 1))))
        return currents.unflatten(0, (-1, self.steps))


class LeakyIntegrateAndFire(nn.Module):
    """Neurons that collect currents and send a spike at a threshold, from rest for every batch.

    ``u[t] = leak u[t-1] (1 - s[t-1]) + I[t]``, ``s[t] = 1 where u[t] >= threshold``: a spike takes
    the potential back to 0.

    Args:
        steps: T.
        leak: what a potential keeps from one step to the next, 0 to 1.
        threshold: potential at which a spike is sent.
        surrogate: None: no gradient passes; ``"atan"``: that of an arc tangent, 1 / (1 + (pi u)^2)
            at a distance of u from the threshold (Fang et al., arXiv 2007.05785, with their slope
            of 2).
    """

    def __init__(
        self, steps: int, leak: float, threshold: float, surrogate: Literal["atan"] | None
    ) -> None:
        super().__init__()
        self.steps = steps
        self.leak = leak
        self.threshold = threshold
        self.passes_gradients = surrogate is not None

    def forward(self, currents: Tensor) -> Tensor:
        """Currents (N, T, C, H, W), or (N, 1, C, H, W) for the same at every step.

        Returns:
            Spikes (N, T, C, H, W), each 0 or 1.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.passes_gradients):
            potential: Tensor | None = None
            spikes: list[Tensor] = []
            for now in currents.expand(-1, self.steps, *currents.shape[2:]).unbind(1):
                if potential is None:
                    potential = now
                else:
                    potential = self.leak * potential * (1 - spikes[-1].detach()) + now
                over = potential - self.threshold
                sent = _Spike.apply(over) if over.requires_grad else (over >= 0).to(over.dtype)
                spikes.append(sent)
            return torch.stack(spikes, 1)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"steps={self.steps}, leak={self.leak}, threshold={self.threshold}"


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, over: Tensor) -> Tensor:
        ctx.save_for_backward(over)
        return (over >= 0).to(over.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (over,) = ctx.saved_tensors
        return gradient / (1 + (math.pi * over) ** 2)


@MODELS.register("spiking-cnn")
def spiking_cnn(
    image_shape: Shape,
    num_classes: int,
    *,
    widths: Counts = [48, 96, 192, 384],  # noqa: B006
    pools: Counts = [1, 2, 3],  # noqa: B006
    steps: PositiveInt = 4,
    leak: Share = 0.5,
    threshold: Finite = 1.0,
    surrogate: Literal["atan"] | None = None,
    norm: Norm = "batch",
    pool: Pool = "max",
    kernel: PositiveInt = 3,
) -> nn.Sequential:
    """Convolutions with leaky integrate-and-fire neurons; the image is shown at every time step.

    A block's features are the mean over time of its currents' positive part, or with a surrogate
    of its spikes; what it sends on are the spikes, (N, T, C, H, W).

    Args:
        image_shape: input shape (C, H, W).
        num_classes: number of classes.
        widths: output channels of each convolution.
        pools: the convolutions, counted from 1, whose currents are pooled, 2x2.
        steps: time steps, T.
        leak: what a potential keeps from one step to the next.
        threshold: potential at which a spike is sent.
        surrogate: what stands for the derivative of a spike; None: no gradient passes one, and
            every layer learns from its currents.
        norm: of the currents.
        pool: average or maximum.
        kernel: side of the convolutions.
    """
    recipe = Recipe("spiking-cnn", widths, pools, norm=norm, pool=pool, kernel=kernel)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for place, layer in enumerate(layers_of(recipe, image_shape, num_classes), start=1):
        given = steps if layers else None
        layers[f"layer{place}"] = SpikingLayer(layer, norm, pool, given)
        layers[f"lif{place}"] = LeakyIntegrateAndFire(steps, leak, threshold, surrogate)
    return nn.Sequential(layers)
