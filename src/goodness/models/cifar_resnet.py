"""The residual networks of small images, ResNet-20 to ResNet-110 (He et al., arXiv 1512.03385)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from goodness.errors import InputError
from goodness.models.base import MODELS
from goodness.models.cnn import Counts
from goodness.types import PositiveInt, Shape


class ResidualBlock(nn.Module):
    """Two convolutions and what came in, (N, C, H, W) to (N, D, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride > 1:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(norm(conv(ReLU(norm(conv(x))))) + shortcut(x))."""
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        total: Tensor = y + self.shortcut(x)
        return total.relu()


@MODELS.register("cifar-resnet")
def cifar_resnet(
    image_shape: Shape,
    num_classes: int,
    *,
    depth: Annotated[int, Field(ge=8)] = 32,
    widths: Counts = [16, 32, 64],  # noqa: B006
    stem: PositiveInt | None = None,
) -> nn.Sequential:
    """ResNet-(6 n + 2) for images of 32x32 pixels: three stages of n blocks, 16 to 64 wide.

    The network of DGL's, InfoPro's, MAN's, AugLocal's and HPFF's papers, with InfoPro's shortcuts,
    1x1 convolutions where shapes change, and its initialisation, N(0, 2 / (9 D)).

    Args:
        image_shape: input shape (C, H, W).
        num_classes: number of classes.
        depth: 6 n + 2 with two convolutions a block: 20, 32, 44, 56, 110.
        widths: channels of the stages; all but the first begin with stride 2.
        stem: channels of the first convolution; None: those of the first stage.
    """
    blocks, left = divmod(depth - 2, 2 * len(widths))
    if left:
        nearest = 2 + 2 * len(widths) * max(1, round((depth - 2) / (2 * len(widths))))
        raise InputError(
            f"model.depth: {depth} layers are not two, and blocks of two, the same number in each"
            f" of {len(widths)} stages (use {nearest})"
        )
    channels = stem or widths[0]
    conv = nn.Conv2d(image_shape[0], channels, 3, padding=1, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, norm=nn.BatchNorm2d(channels))
    layers["relu"] = nn.ReLU(inplace=True)
    for stage, width in enumerate(widths, start=1):
        for place in range(1, blocks + 1):
            stride = 2 if stage > 1 and place == 1 else 1
            layers[f"block{stage}_{place}"] = ResidualBlock(channels, width, stride)
            channels = width
    network = nn.Sequential(layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
