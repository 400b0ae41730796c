"""ASGE's VGG8 and VGG11 (arXiv 2509.12394), PredSim's VGG8B and VGG11B, and a small one for
CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import nn

from goodness.models.base import MODELS
from goodness.models.cnn import Counts, Norm, Pool, Recipe, chain
from goodness.types import PositiveInt, Shape


@MODELS.register("vgg8")
def vgg8(
    image_shape: Shape,
    num_classes: int,
    *,
    widths: Counts = [128, 256, 256, 512, 512, 512, 512],  # noqa: B006
    pools: Counts = [2, 4, 5, 6],  # noqa: B006
    norm: Norm = "none",
    pool: Pool = "avg",
) -> nn.Sequential:
    """ASGE's VGG8: 7 convolutions, 128 to 512 wide, for images of 32x32 pixels."""
    return chain(Recipe("vgg8", widths, pools, norm=norm, pool=pool), image_shape, num_classes)


@MODELS.register("vgg11")
def vgg11(
    image_shape: Shape,
    num_classes: int,
    *,
    widths: Counts = [128, 256, 256, 512, 512, 512, 512, 512, 512, 512],  # noqa: B006
    pools: Counts = [2, 4, 6, 8],  # noqa: B006
    norm: Norm = "none",
    pool: Pool = "avg",
) -> nn.Sequential:
    """ASGE's VGG11: 10 convolutions, 128 to 512 wide, for images of 32x32 pixels."""
    return chain(Recipe("vgg11", widths, pools, norm=norm, pool=pool), image_shape, num_classes)


@MODELS.register("small-cnn")
def small_cnn(
    image_shape: Shape,
    num_classes: int,
    *,
    widths: Counts = [48, 96, 192, 384],  # noqa: B006
    pools: Counts | None = None,
    norm: Norm = "none",
    pool: Pool = "avg",
) -> nn.Sequential:
    """A chain for two CPU cores, pooled after every convolution but the last.

    A pooling that would leave less than 2 pixels is left out.
    """
    pools = list(range(1, len(widths))) if pools is None else pools
    recipe = Recipe("small-cnn", widths, pools, norm=norm, pool=pool, skip_pools=True)
    return chain(recipe, image_shape, num_classes)


Factor = Annotated[float, Field(ge=0.01, le=100)]
"""From a single channel in the narrowest layer to more than any memory holds."""


@MODELS.register("vgg8b")
def vgg8b(
    image_shape: Shape, num_classes: int, *, wider: Factor = 1.0, hidden: PositiveInt = 1024
) -> nn.Sequential:
    """PredSim's VGG8B (arXiv 1901.06656): 6 convolutions, 128 to 512 wide, one hidden layer.

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
    return Recipe(name, widths, pools, [hidden], "batch", "max", "leaky-relu")
