"""A chain of convolutions with every recipe that the methods' papers need."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from goodness.errors import InputError
from goodness.models.base import MODELS

Shape = tuple[int, int, int]
Norm = Literal["none", "batch", "plain-batch", "layer"]
Pool = Literal["avg", "max"]
Activation = Literal["relu", "leaky-relu", "straight-through"]
Order = Literal["conv-norm-act", "conv-act-pool-norm", "norm-conv-act"]
Widths = list[Annotated[int, Field(gt=0)]]
Places = list[Annotated[int, Field(gt=0)]]
Kernel = Annotated[int, Field(ge=1)]


class Dense(nn.Linear):
    """A fully connected layer whose output is a map of one pixel: (N, C, H, W) to (N, D, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) with C * H * W inputs to (N, D, 1, 1)."""
        return super().forward(x.flatten(1))[:, :, None, None]


class StraightThroughReLU(nn.Module):
    """ReLU whose gradient is that of the identity, as in loweX/Forward-Forward."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x + (x.relu() - x).detach()


@dataclass(frozen=True)
class Recipe:
    """What every convolution of a chain is surrounded by.

    Args:
        norm: batch normalisation, the same without scale and shift, or normalisation of each row
            over (C, H, W) without scale and shift.
        pool: average or maximum, 2x2.
        activation: the nonlinearity; ``"straight-through"`` is a ReLU that passes every gradient.
        order: of convolution, norm, activation and pooling. A pooling stands at the end, and is not
            judged, except in ``"conv-act-pool-norm"``.
        kernel: side of every convolution but the first; they are padded to keep the size.
        first_kernel: side of the first convolution; None takes ``kernel``.
        grouped: split the channels of every other convolution, the second, fourth, ..., into one
            group per class (CwComp's CFSE blocks).
        groups: or into these many, one number per convolution (1: not split).
        shortcut: add each convolution's input to its output, its channels repeated where there are
            more of them; the norm and activation stand before the sum (DeeperForward's shortcuts
            without parameters, TRGL's residual modules).
    """

    norm: Norm = "none"
    pool: Pool = "avg"
    activation: Activation = "relu"
    order: Order = "conv-norm-act"
    kernel: int = 3
    first_kernel: int | None = None
    grouped: bool = False
    groups: tuple[int, ...] = ()
    shortcut: bool = False


class Shortcut(nn.Module):
    """A layer with its input added to its output, (N, C, H, W) to (N, D, H, W)."""

    def __init__(self, layer: nn.Sequential) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Each input channel is repeated, so that a class's group stays where it is."""
        y: Tensor = self.layer(x)
        source = torch.arange(y.shape[1], device=x.device) * x.shape[1] // y.shape[1]
        return y + x[:, source]


def chain(
    name: str,
    image_shape: Shape,
    num_classes: int,
    widths: Sequence[int],
    pools: Sequence[int],
    recipe: Recipe,
    dense: Sequence[int] = (),
    skip_pools: bool = False,
) -> nn.Sequential:
    """A convolution with its surroundings per width, then fully connected layers.

    Args:
        name: for error messages.
        image_shape: input shape (C, H, W).
        num_classes: number of classes.
        widths: output channels of each convolution.
        pools: the convolutions (counted from 1) that are followed by a pooling.
        recipe: what surrounds a convolution.
        dense: widths of fully connected layers behind them.
        skip_pools: leave out a pooling that would shrink a side below 2 pixels.

    Raises:
        InputError: no layers, a pooling after a convolution that is not there, an image too small,
            widths that do not divide into groups, or a shortcut around an even kernel.
    """
    if not widths and not dense:
        raise InputError("model.widths: at least one layer is needed")
    if recipe.groups and len(recipe.groups) != len(widths):
        raise InputError(
            f"model.groups: one number per convolution is needed"
            f" ({len(recipe.groups)} for {len(widths)})"
        )
    if beyond := [place for place in pools if place > len(widths)]:
        raise InputError(f"model.pools: no convolution {beyond[0]} (there are {len(widths)})")
    channels, height, width = image_shape
    side = min(height, width)
    needed = 2 ** len(pools)
    if side < needed and not skip_pools:
        raise InputError(
            f"{name} halves the image {len(pools)} times: {height}x{width} pixels are too few"
            f" (use --image-size {max(needed, 32)}, or a smaller model)"
        )
    layers = nn.Sequential()
    for place, out in enumerate(widths, start=1):
        groups = recipe.groups[place - 1] if recipe.groups else 1
        if recipe.grouped and place % 2 == 0:
            groups = num_classes
        if channels % groups or out % groups:
            fitting = -(-out // groups) * groups
            raise InputError(
                f"model.widths: a convolution from {channels} to {out} channels cannot be split"
                f" into {groups} groups; use multiples of {groups}, e.g. {fitting}"
            )
        size = recipe.first_kernel if place == 1 and recipe.first_kernel else recipe.kernel
        if recipe.shortcut and size % 2 == 0:
            raise InputError(
                f"model.kernel: a shortcut needs odd kernels, which keep the size (got {size})"
            )
        pooled = place in pools and (not skip_pools or side >= 4)
        parts = _around(channels, out, size, groups, recipe)
        if pooled:
            parts["pool"] = nn.AvgPool2d(2) if recipe.pool == "avg" else nn.MaxPool2d(2)
            side //= 2
        if recipe.shortcut:
            inner = [part for part in _ordered(parts, recipe.order) if part != "pool"]
            residual = Shortcut(nn.Sequential(OrderedDict((p, parts.pop(p)) for p in inner)))
            parts["conv"] = residual
        for part in _ordered(parts, recipe.order):
            layers.add_module(f"{part}{place}", parts[part])
        channels = out
    with torch.no_grad():
        features = layers.eval()(torch.zeros(1, *image_shape)).flatten(1).shape[1]
    for place, out in enumerate(dense, start=1):
        linear = Dense(features, out, bias=recipe.norm not in ("batch", "plain-batch"))
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
        layers.add_module(f"dense{place}", linear)
        if recipe.norm != "none":
            layers.add_module(f"dense_norm{place}", _norm(recipe.norm, out))
        layers.add_module(f"dense_act{place}", activation(recipe.activation))
        features = out
    return layers.train()


def _around(
    channels: int, out: int, size: int, groups: int, recipe: Recipe
) -> dict[str, nn.Module]:
    # A norm right behind the convolution subtracts the mean, and any bias with it; Trifecta's
    # convolutions, whose norm stands in front, have none either.
    bias = recipe.norm == "none" or recipe.order == "conv-act-pool-norm"
    conv = nn.Conv2d(channels, out, size, padding=size // 2, groups=groups, bias=bias)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    parts: dict[str, nn.Module] = {"conv": conv}
    if recipe.norm != "none" and recipe.order == "norm-conv-act":
        # One module, so that a cut before the convolution takes the norm along.
        norm = _norm(recipe.norm, channels)
        parts["conv"] = nn.Sequential(OrderedDict(norm=norm, conv=conv))
    elif recipe.norm != "none":
        parts["norm"] = _norm(recipe.norm, out)
    parts["relu"] = activation(recipe.activation)
    return parts


def _ordered(parts: dict[str, nn.Module], order: Order) -> list[str]:
    wanted = {
        "conv-norm-act": ("conv", "norm", "relu", "pool"),
        "conv-act-pool-norm": ("conv", "relu", "pool", "norm"),
        "norm-conv-act": ("conv", "relu", "pool"),
    }[order]
    return [part for part in wanted if part in parts]


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "layer":
        return nn.GroupNorm(1, channels, affine=False)
    return nn.BatchNorm2d(channels, affine=norm == "batch")


def activation(name: Activation) -> nn.Module:
    """A nonlinearity by name."""
    if name == "straight-through":
        return StraightThroughReLU()
    return nn.LeakyReLU(0.01, inplace=True) if name == "leaky-relu" else nn.ReLU(inplace=True)


@MODELS.register("cnn")
def cnn(
    image_shape: Shape,
    num_classes: int,
    *,
    widths: Widths = [48, 96, 192, 384],  # noqa: B006
    pools: Places = [1, 2, 3],  # noqa: B006
    dense: Widths = [],  # noqa: B006
    norm: Norm = "batch",
    pool: Pool = "max",
    activation: Activation = "relu",
    order: Order = "conv-norm-act",
    kernel: Kernel = 3,
    first_kernel: Kernel | None = None,
    grouped: bool = False,
    groups: Places = [],  # noqa: B006
    shortcut: bool = False,
    skip_pools: bool = False,
) -> nn.Sequential:
    """Any chain of convolutions and fully connected layers; the methods' papers are recipes of it.

    Args:
        image_shape: input shape (C, H, W).
        num_classes: number of classes.
        widths: as in `chain`.
        pools: as in `chain`.
        dense: as in `chain`.
        norm: as in `Recipe`, like the following ones.
        pool: average or maximum.
        activation: the nonlinearity.
        order: of the layers.
        kernel: side of the convolutions.
        first_kernel: side of the first one.
        grouped: CwComp's grouped blocks.
        groups: of every convolution.
        shortcut: parameter-free shortcuts.
        skip_pools: as in `chain`.
    """
    recipe = Recipe(
        norm, pool, activation, order, kernel, first_kernel, grouped, tuple(groups), shortcut
    )
    return chain("cnn", image_shape, num_classes, widths, pools, recipe, dense, skip_pools)


@MODELS.register("mlp")
def mlp(
    image_shape: Shape,
    num_classes: int,
    *,
    widths: Widths = [1000, 1000, 1000],  # noqa: B006
    norm: Norm = "none",
    activation: Activation = "relu",
) -> nn.Sequential:
    """Fully connected layers.

    Weights are drawn from N(0, 1 / rows), as in loweX/Forward-Forward; biases are 0.
    """
    layers = chain(
        "mlp",
        image_shape,
        num_classes,
        (),
        (),
        Recipe(norm=norm, activation=activation),
        dense=widths,
    )
    for layer in layers:
        if isinstance(layer, Dense):
            nn.init.normal_(layer.weight, std=layer.out_features**-0.5)
    return layers
