"""A chain of convolutions with every recipe that the methods' papers need."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from goodness.errors import InputError
from goodness.models.base import MODELS
from goodness.models.whitening import Whitening
from goodness.modes import evaluating
from goodness.types import PositiveInt, Shape

Norm = Literal["none", "batch", "plain-batch", "layer"]
Pool = Literal["avg", "max"]
Activation = Literal["relu", "leaky-relu", "gelu", "straight-through"]
Order = Literal["conv-norm-act", "conv-pool-norm-act", "conv-act-pool-norm", "norm-conv-act"]
Init = Literal["kaiming", "kaiming-out", "xavier", "dirac", "default"]
Shortcuts = bool | Literal["equal"]
Counts = list[PositiveInt]
Weighted = TypeVar("Weighted", nn.Conv2d, nn.Linear)


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


class Shortcut(nn.Module):
    """A layer with its input added to its output, (N, C, H, W) to (N, D, H, W).

    Args:
        layer: what is around.
        equal: whether C is D.
    """

    def __init__(self, layer: nn.Sequential, equal: bool) -> None:
        super().__init__()
        self.layer = layer
        self.equal = equal

    def forward(self, x: Tensor) -> Tensor:
        """Each input channel is repeated, so that a class's group stays where it is."""
        y: Tensor = self.layer(x)
        if self.equal:
            return y + x
        source = torch.arange(y.shape[1], device=x.device) * x.shape[1] // y.shape[1]
        return y + x[:, source]


NORMS: dict[Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "plain-batch": partial(nn.BatchNorm2d, affine=False),
    "layer": lambda channels: nn.GroupNorm(1, channels, affine=False),
}
POOLS: dict[Pool, Callable[[int], nn.Module]] = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky-relu": partial(nn.LeakyReLU, 0.01, inplace=True),
    "gelu": nn.GELU,
    "straight-through": StraightThroughReLU,
}
ORDERS: dict[Order, tuple[str, ...]] = {
    "conv-norm-act": ("conv", "norm", "relu", "pool"),
    "conv-pool-norm-act": ("conv", "pool", "norm", "relu"),
    "conv-act-pool-norm": ("conv", "relu", "pool", "norm"),
    "norm-conv-act": ("conv", "relu", "pool"),
}
"""A layer's modules in order. A norm in front of a convolution is one module with it, so that a cut
is never between them."""


@dataclass(frozen=True)
class Recipe:
    """A chain of convolutions, then of fully connected layers.

    Args:
        name: for error messages.
        widths: output channels of each convolution.
        pools: the convolutions (counted from 1) that are followed by a pooling.
        dense: widths of fully connected layers behind them.
        norm: batch normalisation, the same without scale and shift, or normalisation of each row
            over (C, H, W) without scale and shift.
        pool: average or maximum, 2x2.
        activation: the nonlinearity; ``"straight-through"`` is a ReLU that passes every gradient.
        order: of convolution, norm, activation and pooling. A pooling stands at the end, and does
            not belong to the block's features, except in the two orders that name it.
        kernel: side of every convolution but the first; they are padded to keep the size.
        first_kernel: side of the first convolution; None: ``kernel``.
        grouped: split the channels of every other convolution, the second, fourth, ..., into one
            group per class (CwComp's CFSE blocks).
        groups: or into these many, one number per convolution (1: not split).
        shortcut: add each convolution's input to its output, its channels repeated where there are
            more of them; the norm and activation stand before the sum (DeeperForward's shortcuts
            without parameters, TRGL's residual modules). ``"equal"``: only where the layer keeps
            the shape, with all that belongs to the layer before the sum.
        skip_pools: leave out a pooling that would shrink a side below 2 pixels.
        init: of the convolutions: ``"kaiming"``, normal with the variance 2 / inputs of a kernel;
            ``"kaiming-out"``, 2 / (channels of the output times positions of the kernel);
            ``"xavier"``, uniform with the variance 2 / (inputs + outputs); all three with biases of
            0. ``"dirac"``: the first filters hand on an input channel each as it is, and the others
            are drawn as torch does it (airbench94, arXiv 2404.00498). ``"default"``: as torch does
            it, fully connected layers too, which are drawn by ``"kaiming"`` otherwise.
        whiten: side of the patches that a frozen first layer whitens, see `Whitening`; it stands in
            front of the first convolution with an activation of its own. None: there is none.
    """

    name: str
    widths: Sequence[int]
    pools: Sequence[int]
    dense: Sequence[int] = ()
    norm: Norm = "none"
    pool: Pool = "avg"
    activation: Activation = "relu"
    order: Order = "conv-norm-act"
    kernel: int = 3
    first_kernel: int | None = None
    grouped: bool = False
    groups: Sequence[int] = ()
    shortcut: Shortcuts = False
    skip_pools: bool = False
    init: Init = "kaiming"
    whiten: int | None = None


class Layer(NamedTuple):
    """A convolution of a chain."""

    inputs: int
    outputs: int
    kernel: int
    groups: int
    pooled: bool


def chain(recipe: Recipe, image_shape: Shape, num_classes: int) -> nn.Sequential:
    """The chain of a recipe, for images (C, H, W).

    Raises:
        InputError: no layers, a pooling after a convolution that is not there, an image too small,
            widths that do not divide into groups, a shortcut around an even kernel, or patches
            larger than the image.
    """
    layers, shape = nn.Sequential(), image_shape
    if recipe.whiten is not None:
        whitening = Whitening(image_shape, recipe.whiten)
        layers.add_module("whiten", whitening)
        layers.add_module("whiten_relu", ACTIVATIONS[recipe.activation]())
        shape = whitening.output_shape
    for place, layer in enumerate(layers_of(recipe, shape, num_classes), start=1):
        for name, module in _modules(layer, recipe).items():
            layers.add_module(f"{name}{place}", module)
    with evaluating(layers), torch.no_grad():
        features = layers(torch.zeros(1, *image_shape)).numel()
    for place, out in enumerate(recipe.dense, start=1):
        bias = recipe.norm not in ("batch", "plain-batch")
        dense = Dense(features, out, bias)
        layers.add_module(f"dense{place}", dense if recipe.init == "default" else drawn(dense))
        if recipe.norm in NORMS:
            layers.add_module(f"dense_norm{place}", NORMS[recipe.norm](out))
        layers.add_module(f"dense_act{place}", ACTIVATIONS[recipe.activation]())
        features = out
    return layers


def layers_of(recipe: Recipe, image_shape: Shape, num_classes: int) -> Iterator[Layer]:
    """The convolutions of a recipe, checked."""
    count, poolings = len(recipe.widths), len(recipe.pools)
    if not count and not recipe.dense:
        raise InputError("model.widths: at least one layer is needed")
    if recipe.groups and len(recipe.groups) != count:
        raise InputError(
            f"model.groups: one number per convolution is needed ({len(recipe.groups)} for {count})"
        )
    if beyond := [place for place in recipe.pools if place > count]:
        raise InputError(f"model.pools: no convolution {beyond[0]} (there are {count})")
    channels, height, width = image_shape
    side = min(height, width)
    # What a whitening takes off an image is the user's too.
    margin = recipe.whiten - 1 if recipe.whiten else 0
    if side < 2**poolings and not recipe.skip_pools:
        raise InputError(
            f"{recipe.name} halves the image {poolings} times: {height + margin}x{width + margin}"
            f" pixels are too few (use --image-size {max(2**poolings + margin, 32)}, or a smaller"
            " model)"
        )
    for place, out in enumerate(recipe.widths, start=1):
        groups = recipe.groups[place - 1] if recipe.groups else 1
        if recipe.grouped and place % 2 == 0:
            groups = num_classes
        if channels % groups or out % groups:
            fitting = -(-out // groups) * groups
            raise InputError(
                f"model.widths: a convolution from {channels} to {out} channels cannot be split"
                f" into {groups} groups; use multiples of {groups}, e.g. {fitting}"
            )
        kernel = (recipe.first_kernel if place == 1 else None) or recipe.kernel
        if recipe.shortcut and kernel % 2 == 0:
            raise InputError(
                f"model.kernel: a shortcut needs odd kernels, which keep the size (got {kernel})"
            )
        pooled = place in recipe.pools and (not recipe.skip_pools or side >= 4)
        yield Layer(channels, out, kernel, groups, pooled)
        channels, side = out, side // 2 if pooled else side


def _modules(layer: Layer, recipe: Recipe) -> dict[str, nn.Module]:
    """A convolution and what surrounds it, in order."""
    # A norm right behind the convolution subtracts the mean, and any bias with it; Trifecta's
    # convolutions, whose norm stands in front, have none either.
    bias = recipe.norm == "none" or recipe.order == "conv-act-pool-norm"
    inputs, outputs, size, groups, pooled = layer
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=bias)
    parts = {"conv": INITS[recipe.init](conv), "relu": ACTIVATIONS[recipe.activation]()}
    if recipe.norm in NORMS and recipe.order == "norm-conv-act":
        norm = NORMS[recipe.norm](inputs)
        parts["conv"] = nn.Sequential(OrderedDict(norm=norm, conv=conv))
    elif recipe.norm in NORMS:
        parts["norm"] = NORMS[recipe.norm](outputs)
    order = ORDERS[recipe.order]
    if recipe.shortcut is True or (recipe.shortcut and inputs == outputs and not pooled):
        inner = OrderedDict((name, parts[name]) for name in order if name in parts)
        parts = {"conv": Shortcut(nn.Sequential(inner), inputs == outputs)}
    if pooled:
        parts["pool"] = POOLS[recipe.pool](2)
    return {name: parts[name] for name in order if name in parts}


Draw = Callable[[Tensor], object]
KAIMING: Draw = partial(nn.init.kaiming_normal_, nonlinearity="relu")


def drawn(layer: Weighted, draw: Draw = KAIMING) -> Weighted:
    """A layer with weights drawn anew and biases of 0."""
    draw(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def _hand_on(conv: nn.Conv2d, weight: Tensor) -> None:
    """In each group the first filters hand on a channel each; the others stay."""
    for filters in weight.chunk(conv.groups):
        nn.init.dirac_(filters[: weight.shape[1]])


INITS: dict[Init, Callable[[nn.Conv2d], nn.Conv2d]] = {
    "kaiming": drawn,
    "kaiming-out": partial(
        drawn, draw=partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")
    ),
    "xavier": partial(drawn, draw=nn.init.xavier_uniform_),
    "dirac": lambda conv: drawn(conv, partial(_hand_on, conv)),
    "default": lambda conv: conv,
}


@MODELS.register("cnn")
def cnn(
    image_shape: Shape,
    num_classes: int,
    *,
    widths: Counts = [48, 96, 192, 384],  # noqa: B006
    pools: Counts = [1, 2, 3],  # noqa: B006
    dense: Counts = [],  # noqa: B006
    norm: Norm = "batch",
    pool: Pool = "max",
    activation: Activation = "relu",
    order: Order = "conv-norm-act",
    kernel: PositiveInt = 3,
    first_kernel: PositiveInt | None = None,
    grouped: bool = False,
    groups: Counts = [],  # noqa: B006
    shortcut: Shortcuts = False,
    skip_pools: bool = False,
    init: Init = "kaiming",
    whiten: PositiveInt | None = None,
) -> nn.Sequential:
    """Any chain of convolutions and fully connected layers; the methods' papers are recipes of it.

    Args:
        image_shape: input shape (C, H, W).
        num_classes: number of classes.
        widths: as in `Recipe`, like all that follow.
        pools: the convolutions, counted from 1, that are followed by a pooling.
        dense: widths of fully connected layers behind them.
        norm: of a batch or of each row.
        pool: average or maximum.
        activation: the nonlinearity.
        order: of the layers.
        kernel: side of the convolutions.
        first_kernel: side of the first one.
        grouped: CwComp's grouped blocks.
        groups: of every convolution.
        shortcut: parameter-free shortcuts, around all layers or those that keep the shape.
        skip_pools: leave out poolings of maps that are too small.
        init: of the convolutions.
        whiten: side of the patches that a frozen first layer whitens.
    """
    around = norm, pool, activation, order, kernel, first_kernel, grouped, groups, shortcut
    recipe = Recipe("cnn", widths, pools, dense, *around, skip_pools, init, whiten)
    return chain(recipe, image_shape, num_classes)


@MODELS.register("mlp")
def mlp(
    image_shape: Shape,
    num_classes: int,
    *,
    widths: Counts = [1000, 1000, 1000],  # noqa: B006
    norm: Norm = "none",
    activation: Activation = "relu",
) -> nn.Sequential:
    """Fully connected layers.

    Weights are drawn from N(0, 1 / rows), as in loweX/Forward-Forward; biases are 0.
    """
    recipe = Recipe("mlp", (), (), dense=widths, norm=norm, activation=activation)
    layers = chain(recipe, image_shape, num_classes)
    for layer in layers:
        if isinstance(layer, Dense):
            nn.init.normal_(layer.weight, std=layer.out_features**-0.5)
    return layers
