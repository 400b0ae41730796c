from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import supervised_contrast
from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.types import NonNegative, Positive, PositiveInt, Shape

Head = Literal["mlp-sr", "1c2f", "linear"]


@OBJECTIVES.register("auxiliary")
class Auxiliary(Objective):
    """Decoupled greedy learning (arXiv 1901.08164): the cross-entropy of a small network per block.

    Args:
        spec: the block.
        head: ``"mlp-sr"``, DGL's: averaged to a quarter of the side, three 1x1 convolutions,
            averaged to 2x2, three wide layers and a linear one; ``"1c2f"``, InfoPro's: a strided
            convolution and two layers; ``"linear"``: global average and a linear layer (BWBPF).
        width: of the hidden layers; None: the block's channels for convolutions and, for
            ``"mlp-sr"``, four times as many behind them.
    """

    supports_label_smoothing = True

    def __init__(
        self, spec: BlockSpec, *, head: Head = "mlp-sr", width: PositiveInt | None = None
    ) -> None:
        super().__init__()
        self.head = head_network(head, spec.features, spec.num_classes, width)

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        return self.head(h)


def head_network(head: Head, features: Shape, num_classes: int, width: int | None) -> nn.Sequential:
    """A network from features (N, C, H, W) to logits (N, K); see `Auxiliary`."""
    channels, height, columns = features
    mean = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    if head == "linear":
        return nn.Sequential(*mean, nn.Linear(channels, num_classes))
    if head == "1c2f":
        hidden = width or 128
        conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False)
        units = nn.Linear(channels, hidden)
        last = nn.Linear(hidden, num_classes)
        relus = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        return nn.Sequential(conv, nn.BatchNorm2d(channels), relus[0], *mean, units, relus[1], last)
    inner, hidden = width or channels, width or 4 * channels
    coarse = -(-height // 4), -(-columns // 4)
    small = min(2, coarse[0]), min(2, coarse[1])
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(coarse)]
    for inputs in (channels, inner, inner):
        conv = nn.Conv2d(inputs, inner, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
    layers += [nn.AdaptiveAvgPool2d(small), nn.Flatten()]
    for inputs in (inner * math.prod(small), hidden, hidden):
        units = nn.Linear(inputs, hidden, bias=False)
        layers += [units, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden, num_classes))


@OBJECTIVES.register("information")
class Information(Auxiliary):
    """InfoPro (ICLR 2021, arXiv 2101.10832): keep information about the image, and about the class.

    reconstruct * BCE(decoder(h), image) + classify * (cross-entropy or supervised contrast of the
    head). Both weights move in a straight line from the first block to the one before the last; the
    last block has the cross-entropy alone. The decoder is an upsampling to the image's size and two
    3x3 convolutions. For the reconstruction each channel of the batch's images is scaled to [0, 1].

    Args:
        spec: the block.
        first: (reconstruct, classify) of the first block; released for ResNet-110 in two modules.
        last: those of the block before the last. Not verified for more than two modules.
        task: ``"ce"``, or ``"contrast"`` on the head's outputs.
        temperature: of the contrastive loss.
        head: as in `Auxiliary`.
        width: as in `Auxiliary`.
    """

    def __init__(
        self,
        spec: BlockSpec,
        *,
        first: tuple[NonNegative, NonNegative] = (5.0, 0.5),
        last: tuple[NonNegative, NonNegative] = (1.0, 1.0),
        task: Literal["ce", "contrast"] = "ce",
        temperature: Positive = 0.07,
        head: Head = "1c2f",
        width: PositiveInt | None = None,
    ) -> None:
        super().__init__(spec, head=head, width=width)
        self.task = task
        self.coupled = task == "contrast"
        self.temperature = temperature
        self.final = spec.index == spec.count - 1
        self.needs_images = not self.final
        self.supports_label_smoothing = self.final or task == "ce"
        depth = spec.index / max(spec.count - 2, 1)
        self.reconstruct, self.classify = (
            a + (b - a) * depth for a, b in zip(first, last, strict=True)
        )
        channels = spec.features[0]
        self.decoder = nn.Sequential(
            nn.Upsample(size=spec.image_shape[1:], mode="bilinear", align_corners=True),
            nn.Conv2d(channels, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, spec.image_shape[0], 3, padding=1),
        )

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,)."""
        if self.final:
            return super().loss(h, scores, y, context)
        low, high = context.images.amin((0, 2, 3), True), context.images.amax((0, 2, 3), True)
        target = (context.images - low) / (high - low).clamp(min=1e-8)
        image = F.binary_cross_entropy_with_logits(self.decoder(h), target, reduction="none")
        if self.task == "ce":
            label = super().loss(h, scores, y, context)
        else:
            label = supervised_contrast(scores, y, self.temperature)
        return self.reconstruct * image.mean((1, 2, 3)) + self.classify * label


@OBJECTIVES.register("transport")
class Transport(Auxiliary):
    """TRGL (arXiv 2210.00949): cross-entropy, and the price of moving the features.

    Adds |h - x|^2 / (2 tau), the mean over features, with x the block's input. Blocks whose output
    has another shape than their input move for free; the paper's are residual modules of equal
    shape. The mean instead of the sum is our choice, so that tau does not depend on the width.

    Args:
        spec: the block.
        tau: step size of the minimizing-movement scheme; a larger one makes moving cheaper.
        head: as in `Auxiliary`.
        width: as in `Auxiliary`.
    """

    def __init__(
        self,
        spec: BlockSpec,
        *,
        tau: Positive = 1.0,
        head: Head = "mlp-sr",
        width: PositiveInt | None = None,
    ) -> None:
        super().__init__(spec, head=head, width=width)
        self.tau = tau
        self.charged = spec.input == spec.features

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,)."""
        loss = super().loss(h, scores, y, context)
        if self.charged:
            loss = loss + (h - context.input).square().mean((1, 2, 3)) / (2 * self.tau)
        return loss
