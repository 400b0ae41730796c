from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.functional import supervised_contrast
from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective
from goodness.types import NonNegative, Positive, PositiveInt, Shape

Head = Literal["mlp-sr", "mlp", "1c2f", "linear"]
RELEASED = {
    2: ((5.0, 0.5), (0.0, 0.0)),
    4: ((1.0, 0.0), (0.0, 1.0)),
    8: ((5.0, 0.0), (0.0, 1.0)),
    16: ((5.0, 0.0), (0.5, 1.0)),
}
"""InfoPro's (reconstruct, classify) of the first local module and of the last one, by the number of
modules that ResNet-110 is cut into."""


@OBJECTIVES.register("auxiliary")
class Auxiliary(Objective):
    """Decoupled greedy learning (arXiv 1901.08164): the cross-entropy of a small network per block.

    Args:
        spec: the block.
        head: ``"mlp-sr"``, DGL's: averaged to a quarter of the side, three 1x1 convolutions,
            averaged to 2x2, three wide layers and a linear one; ``"mlp"``, that of DGL's last
            block: averaged to 2x2, two wide layers and a linear one; ``"1c2f"``, InfoPro's: a
            convolution to twice the channels with stride 2, or with stride 1 in the widest blocks,
            which keep theirs, and two layers behind the global average; ``"linear"``: global
            average and a linear layer (BWBPF).
        width: of the hidden layers; None: the block's channels for convolutions and, for
            ``"mlp-sr"`` and ``"mlp"``, four times as many behind them.
        last: the last block's head; None: the same.
    """

    supports_label_smoothing = True
    supports_soft_labels = True

    def __init__(
        self,
        spec: BlockSpec,
        *,
        head: Head = "mlp-sr",
        width: PositiveInt | None = None,
        last: Head | None = None,
    ) -> None:
        super().__init__()
        if last is not None and spec.index == spec.count - 1:
            head = last
        self.head = head_network(head, spec.features, spec.num_classes, width, spec.widest)

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        return self.head(h)


def head_network(
    head: Head, features: Shape, num_classes: int, width: int | None, widest: int
) -> nn.Sequential:
    """A network from features (N, C, H, W) to logits (N, K); see `Auxiliary`.

    Args:
        head: which one.
        features: (C, H, W).
        num_classes: K.
        width: of the hidden layers.
        widest: channels of the network's widest block.
    """
    channels, height, columns = features
    mean = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    if head == "linear":
        return nn.Sequential(*mean, nn.Linear(channels, num_classes))
    if head == "1c2f":
        hidden = width or 128
        outputs = max(channels, min(2 * channels, widest))
        stride = 2 if outputs > channels else 1
        conv = nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False)
        units = nn.Linear(outputs, hidden)
        last = nn.Linear(hidden, num_classes)
        relus = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), relus[0], *mean, units, relus[1], last)
    inner, hidden = width or channels, width or 4 * channels
    coarse = -(-height // 4), -(-columns // 4)
    small = min(2, coarse[0]), min(2, coarse[1])
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(coarse)]
    if head == "mlp":
        inner = channels
    else:
        for inputs in (channels, inner, inner):
            conv = nn.Conv2d(inputs, inner, 1, bias=False)
            layers += [conv, nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
    layers += [nn.AdaptiveAvgPool2d(small), nn.Flatten()]
    for inputs in (inner * math.prod(small), *[hidden] * (1 if head == "mlp" else 2)):
        units = nn.Linear(inputs, hidden, bias=False)
        layers += [units, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden, num_classes))


@OBJECTIVES.register("information")
class Information(Auxiliary):
    """InfoPro (ICLR 2021, arXiv 2101.10832): keep information about the image, and about the class.

    reconstruct * BCE(decoder(h), image) + classify * (supervised contrast or cross-entropy of the
    head). Both weights move in a straight line from the first block to the one before the last; the
    last block has a linear layer on the global average, and cross-entropy alone. The decoder is an
    upsampling to the image's size and two 3x3 convolutions. As in the released code; but that has
    the pixels themselves as target, and here each channel of the batch's images is scaled to
    [0, 1]. A contrastive head gives no class scores: a linear layer on its embedding, whose
    gradient ends there, gives them.

    Args:
        spec: the block.
        first: (reconstruct, classify) of the first block; None: those of ResNet-110's command for
            this number of blocks, of 2, 4, 8 and 16 the nearest.
        last: those of the block before the last; None: as for ``first``.
        task: ``"contrast"`` on the embedding with unit length, or ``"ce"``.
        temperature: of the contrastive loss.
        head: of the blocks before the last, as in `Auxiliary`.
        width: as in `Auxiliary`.
        embedding: numbers per image that are contrasted.
    """

    classifier: nn.Linear | None

    def __init__(
        self,
        spec: BlockSpec,
        *,
        first: tuple[NonNegative, NonNegative] | None = None,
        last: tuple[NonNegative, NonNegative] | None = None,
        task: Literal["contrast", "ce"] = "contrast",
        temperature: Positive = 0.07,
        head: Head = "1c2f",
        width: PositiveInt | None = None,
        embedding: PositiveInt = 128,
    ) -> None:
        final = spec.index == spec.count - 1
        super().__init__(spec, head="linear" if final else head, width=width)
        self.classifier = None
        self._embedding: Tensor | None = None
        if task == "contrast" and not final:
            self.head = head_network(head, spec.features, embedding, width, spec.widest)
            self.classifier = nn.Linear(embedding, spec.num_classes)
        self.task = task
        self.coupled = task == "contrast"
        # Which images are alike enough to attract each other a mixture does not say.
        self.supports_soft_labels = task == "ce" or final
        self.temperature = temperature
        self.final = final
        self.needs_images = not self.final
        depth = spec.index / max(spec.count - 2, 1)
        nearest = min(RELEASED, key=lambda count: abs(math.log(count / spec.count)))
        begin, end = (
            given or own for given, own in zip((first, last), RELEASED[nearest], strict=True)
        )
        self.reconstruct, self.classify = (
            a + (b - a) * depth for a, b in zip(begin, end, strict=True)
        )
        channels = spec.features[0]
        self.decoder = nn.Sequential(
            nn.Upsample(size=spec.image_shape[1:], mode="bilinear", align_corners=True),
            nn.Conv2d(channels, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, spec.image_shape[0], 3, padding=1),
        )

    def scores(self, h: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        given = self.head(h)
        if self.classifier is None:
            return given
        if self.training and torch.is_grad_enabled():
            self._embedding = given  # for the loss of the same features, which follows
        return self.classifier(given.detach() if self.training else given)

    def loss(self, h: Tensor, scores: Tensor, y: Tensor, context: Context) -> Tensor:
        """(N,)."""
        if self.final:
            return super().loss(h, scores, y, context)
        low, high = context.images.amin((0, 2, 3), True), context.images.amax((0, 2, 3), True)
        target = (context.images - low) / (high - low).clamp(min=1e-8)
        image = F.binary_cross_entropy_with_logits(self.decoder(h), target, reduction="none")
        loss = self.reconstruct * image.mean((1, 2, 3))
        if self.classifier is None:
            return loss + self.classify * super().loss(h, scores, y, context)
        embedding, self._embedding = self._embedding, None
        embedding = self.head(h) if embedding is None else embedding
        contrast = supervised_contrast(embedding, y, self.temperature)
        label = super().loss(h, self.classifier(embedding.detach()), y, context)
        return loss + self.classify * contrast + label  # which the classifier alone learns from


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
