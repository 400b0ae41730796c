"""Chains of 3x3 convolutions: ASGE's VGG8 and VGG11 (arXiv 2509.12394) and a small one for CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from goodness.errors import InputError
from goodness.models.base import MODELS

Norm = Literal["none", "batch"]
Pool = Literal["avg", "max"]
Widths = list[Annotated[int, Field(gt=0)]]
Places = list[Annotated[int, Field(gt=0)]]


def chain(
    name: str,
    image: tuple[int, int, int],
    widths: Sequence[int],
    pools: Sequence[int],
    norm: Norm,
    pool: Pool,
    skip_pools: bool = False,
) -> nn.Sequential:
    """Convolution (3x3, padding 1), norm and ReLU per width; 2x2 pooling after some of them.

    Args:
        name: for error messages.
        image: input shape (C, H, W).
        widths: output channels of each convolution.
        pools: the convolutions (counted from 1) that are followed by a pooling.
        norm: batch normalisation after each convolution, or none.
        pool: average or maximum pooling.
        skip_pools: leave out a pooling that would shrink a side below 2 pixels.

    Raises:
        InputError: no widths, a pooling after a convolution that is not there, an image too small.
    """
    if not widths:
        raise InputError("model.widths: at least one convolution is needed")
    if beyond := [place for place in pools if place > len(widths)]:
        raise InputError(f"model.pools: no convolution {beyond[0]} (there are {len(widths)})")
    channels, height, width = image
    side = min(height, width)
    needed = 2 ** len(pools)
    if side < needed and not skip_pools:
        raise InputError(
            f"{name} halves the image {len(pools)} times: {height}x{width} pixels are too few"
            f" (use --image-size {max(needed, 32)}, or a smaller model)"
        )
    layers = nn.Sequential()
    for place, out in enumerate(widths, start=1):
        # Batch norm subtracts the mean, and any bias with it.
        conv = nn.Conv2d(channels, out, 3, padding=1, bias=norm == "none")
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        layers.add_module(f"conv{place}", conv)
        if norm == "batch":
            layers.add_module(f"norm{place}", nn.BatchNorm2d(out))
        layers.add_module(f"relu{place}", nn.ReLU(inplace=True))
        if place in pools and (not skip_pools or side >= 4):
            layers.add_module(f"pool{place}", nn.AvgPool2d(2) if pool == "avg" else nn.MaxPool2d(2))
            side //= 2
        channels = out
    return layers


@MODELS.register("vgg8")
def vgg8(
    image: tuple[int, int, int],
    *,
    widths: Widths = [128, 256, 256, 512, 512, 512, 512],  # noqa: B006
    pools: Places = [2, 4, 5, 6],  # noqa: B006
    norm: Norm = "none",
    pool: Pool = "avg",
) -> nn.Sequential:
    """ASGE's VGG8: 7 convolutions, 128 to 512 wide, for images of 32x32 pixels."""
    return chain("vgg8", image, widths, pools, norm, pool)


@MODELS.register("vgg11")
def vgg11(
    image: tuple[int, int, int],
    *,
    widths: Widths = [128, 256, 256, 512, 512, 512, 512, 512, 512, 512],  # noqa: B006
    pools: Places = [2, 4, 6, 8],  # noqa: B006
    norm: Norm = "none",
    pool: Pool = "avg",
) -> nn.Sequential:
    """ASGE's VGG11: 10 convolutions, 128 to 512 wide, for images of 32x32 pixels."""
    return chain("vgg11", image, widths, pools, norm, pool)


@MODELS.register("small-cnn")
def small_cnn(
    image: tuple[int, int, int],
    *,
    widths: Widths = [48, 96, 192, 384],  # noqa: B006
    pools: Places | None = None,
    norm: Norm = "none",
    pool: Pool = "avg",
) -> nn.Sequential:
    """A chain for two CPU cores, pooled after every convolution but the last.

    A pooling that would leave less than 2 pixels is left out.
    """
    pools = list(range(1, len(widths))) if pools is None else pools
    return chain("small-cnn", image, widths, pools, norm, pool, skip_pools=True)
