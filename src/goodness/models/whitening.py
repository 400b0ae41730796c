"""A first layer that is not learnt: it whitens the patches of the images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.devices import wide
from goodness.errors import InputError
from goodness.types import Shape

EPS = 5e-4
"""Added to the eigenvalues: directions with hardly any variance are not blown up to noise."""


class Whitening(nn.Module):
    """A convolution with the patches' eigenvectors, (N, C, H, W) to (N, 2 P, H - k + 1, W - k + 1).

    Of all k x k patches of the training images, each P = C k k numbers, the covariance has
    eigenvectors v_i with eigenvalues e_i. The filters are v_i / sqrt(e_i + 5e-4) and their
    negatives (airbench94, arXiv 2404.00498, section 3.2). As there, no mean is subtracted: that of
    normalised images is 0. The outputs of the first P filters then have the covariance 1.

    It has no parameters. Until `initialize` has seen images, it hands the patches on as they are.

    Args:
        image_shape: (C, H, W) of what comes in.
        side: k.

    Raises:
        InputError: a patch is larger than the image.
    """

    weight: Tensor

    def __init__(self, image_shape: Shape, side: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        if side > min(height, width):
            raise InputError(
                f"model.whiten: no patch of {side}x{side} pixels fits into {height}x{width}"
                f" (use {min(height, width, 2)}, or null)"
            )
        count = channels * side * side
        self.register_buffer("weight", _with_negatives(torch.eye(count), channels, side))
        self.output_shape: Shape = 2 * count, height - side + 1, width - side + 1
        """(2 P, H - k + 1, W - k + 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2 P, H - k + 1, W - k + 1)."""
        return F.conv2d(x, self.weight)

    @property
    def is_fresh(self) -> bool:
        """Whether its filters are still those that it was made with; waits for the device."""
        filters = len(self.weight) // 2
        return torch.equal(self.weight[:filters].flatten(1), torch.eye(filters).to(self.weight))

    @torch.no_grad()
    def initialize(self, batches: Iterable[Tensor]) -> None:
        """Take the filters from images, the same ones from the same images on every machine.

        Args:
            batches: (n, C, H, W) each.
        """
        channels, side = self.weight.shape[1], self.weight.shape[2]
        moment = torch.zeros(len(self.weight) // 2, len(self.weight) // 2, dtype=torch.float64)
        count = 0
        for images in batches:
            patches = F.unfold(wide(images), side).transpose(0, 1).flatten(1)  # (P, patches)
            moment += (patches @ patches.T).cpu()
            count += patches.shape[1]
        values, vectors = torch.linalg.eigh(moment / count)
        # An eigenvector's sign is arbitrary: its largest number shall be positive.
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        vectors = vectors * largest.sign() / (values.clamp(min=0) + EPS).sqrt()
        # The direction with the largest variance comes first.
        self.weight.copy_(_with_negatives(vectors.T.flip(0), channels, side))


def _with_negatives(filters: Tensor, channels: int, side: int) -> Tensor:
    """(P, P) to (2 P, C, k, k)."""
    return torch.cat([filters, -filters]).view(-1, channels, side, side)
