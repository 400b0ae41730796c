from __future__ import annotations

import torch
from torch import Tensor

from goodness.errors import InputError
from goodness.functional import standardise_rows
from goodness.presentation.base import PRESENTATIONS, Presentation


@PRESENTATIONS.register("image-pairs")
class ImagePairs(Presentation):
    """Self-Contrastive Forward-Forward: an image with itself (positive) or with another one.

    The two lie on separate channels with the same weights, which is the convolution of their sum.
    Every block pairs anew, from the outputs for the positive rows. Labels are not used, and a block
    has no class scores. The other image is any but the row's own; it may be of the same class.

    Args:
        image_shape: shape (C, H, W) of an image.
        num_classes: number of classes.
    """

    paired = True

    def training_rows(self, images: Tensor, y: Tensor) -> Tensor:
        """(2 * N, C, H, W): twice the image, then the image and another."""
        return _pairs(images)

    def query_rows(self, images: Tensor) -> Tensor:
        """(N, C, H, W): twice the image."""
        return 2 * standardise_rows(images)

    def block_input(self, rows: Tensor, training: bool) -> Tensor:
        """The same with the positive rows' features; without ``training`` all rows are positive."""
        return _pairs(rows.chunk(2)[0]) if training else 2 * standardise_rows(rows)


def _pairs(x: Tensor) -> Tensor:
    if len(x) < 2:
        raise InputError(
            "presentation 'image-pairs' cannot learn from a batch of one: there is no other image"
        )
    x = standardise_rows(x)
    # A shift of a shuffle pairs nobody with itself.
    order = torch.randperm(len(x), device=x.device)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return torch.cat([2 * x, x + x[other]])
