"""ASGE's VGG8 and VGG11 (arXiv 2509.12394), PredSim's VGG8B and VGG11B, and a small one for
CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import nn

from goodness.models.base import MODELS
from goodness.models.cnn import Activation, Counts, Init, Norm, Order, Pool, Recipe, chain
from goodness.types import PositiveInt, Shape


def _register(
    name: str, text: str, own_widths: Counts, own_pools: Counts | None, skip_pools: bool = False
) -> None:
    """Enter a chain of 3x3 convolutions that differs from others by its widths and poolings."""

    def vgg(
        image_shape: Shape,
        num_classes: int,
        *,
        widths: Counts = own_widths,
        pools: Counts | None = own_pools,
        norm: Norm = "none",
        pool: Pool = "avg",
        activation: Activation = "relu",
        order: Order = "conv-norm-act",
        init: Init = "kaiming",
        whiten: PositiveInt | None = None,
    ) -> nn.Sequential:
        after = range(1, len(widths)) if pools is None else pools
        recipe = Recipe(
            name,
            widths,
            after,
            norm=norm,
            pool=pool,
            activation=activation,
            order=order,
            skip_pools=skip_pools,
            init=init,
            whiten=whiten,
        )
        return chain(recipe, image_shape, num_classes)

    vgg.__doc__ = text
    MODELS.register(name)(vgg)


_register(
    "vgg8",
    "ASGE's VGG8: 7 convolutions, 128 to 512 wide, for images of 32x32 pixels.",
    [128, 256, 256, 512, 512, 512, 512],
    [2, 4, 5, 6],
)
_register(
    "vgg11",
    "ASGE's VGG11: 10 convolutions, 128 to 512 wide, for images of 32x32 pixels.",
    [128, 256, 256, 512, 512, 512, 512, 512, 512, 512],
    [2, 4, 6, 8],
)
_register(
    "small-cnn",
    """A chain for two CPU cores, pooled after every convolution but the last.

    A pooling that would leave less than 2 pixels is left out.
    """,
    [48, 96, 192, 384],
    None,
    skip_pools=True,
)


Factor = Annotated[float, Field(ge=0.01, le=100)]
"""From a single channel in the narrowest layer to more than any memory holds."""


@MODELS.register("vgg8b")
def vgg8b(
    image_shape: Shape, num_classes: int, *, wider: Factor = 1.0, hidden: PositiveInt = 1024
) -> nn.Sequential:
    """PredSim's VGG8B (arXiv 1901.06656): 6 convolutions, 128 to 512 wide, one hidden layer.

    Weights are drawn as torch does it, as in the released code.

    Args:
        image_shape: input shape (C, H, W); 28x28 or 32x32 pixels in the paper.
        num_classes: number of classes.
        wider: factor on the convolutions' channels.
        hidden: units of the fully connected layer.
    """
    recipe = _predsim("vgg8b", [128, 256, 256, 512, 512, 512], [2, 4, 5, 6], wider, hidden)
    return chain(recipe, image_shape, num_classes)


@MODELS.register("vgg11b")
def vgg11b(
    image_shape: Shape, num_classes: int, *, wider: Factor = 1.0, hidden: PositiveInt = 1024
) -> nn.Sequential:
    """PredSim's VGG11B: 9 convolutions, 128 to 512 wide, one hidden layer; see `vgg8b`."""
    widths = [128, 128, 128, 256, 256, 512, 512, 512, 512]
    recipe = _predsim("vgg11b", widths, [4, 6, 8, 9], wider, hidden)
    return chain(recipe, image_shape, num_classes)


def _predsim(
    name: str, widths: Sequence[int], pools: Sequence[int], wider: float, hidden: int
) -> Recipe:
    widths = [round(wider * width) for width in widths]
    return Recipe(name, widths, pools, [hidden], "batch", "max", "leaky-relu", init="default")
