from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from goodness.presentation.base import PRESENTATIONS, Labelled, RowNorm
from goodness.types import PositiveShare, Shape

RELEASED = ((0, 6), (2, 0), (0, 4), (0, 2), (6, 0), (4, 0), (1, -1), (2, -2), (2, 2), (1, 1))
"""Waves (rows, columns) of a third-party implementation's ten classes, up to the sign, for which a
cosine does not care; the paper's own table is in no source that we found."""


@PRESENTATIONS.register("fourier")
class Fourier(Labelled):
    """Spatially extended labels (arXiv 2312.14924): a plane wave of the class's own over the image.

    The label is at every position. Class c's pattern is 0.5 + 0.5 cos(2 pi (u_c i / H + v_c j / W))
    with an integer wave vector (u_c, v_c) of its own. The first ten vectors are those of a
    third-party implementation, further classes have the slowest waves that are left: there are
    enough for 100 classes from 16 pixels on. On images too small for some of the ten, as on
    digits of 8 x 8 pixels, the next vectors move up.

    Args:
        image_shape: shape (C, H, W) of an image.
        num_classes: number of classes.
        intensity: K, the label's part; the paper's best MNIST runs have 0.35.
        mix: ``"blend"`` is (1 - K) image + K pattern, ``"add"`` image + K pattern, as in a
            third-party implementation; that we blend is our choice.
        norm: as in `Labelled`.
    """

    patterns: Tensor

    def __init__(
        self,
        image_shape: Shape,
        num_classes: int,
        *,
        intensity: PositiveShare = 0.35,
        mix: Literal["blend", "add"] = "blend",
        norm: RowNorm = "layer",
    ) -> None:
        super().__init__(image_shape, num_classes, norm=norm)
        self.intensity = intensity
        self.keep = 1 - intensity if mix == "blend" else 1.0
        _, height, width = image_shape
        rows = torch.arange(height)[:, None] / height
        columns = torch.arange(width)[None, :] / width
        waves = [
            0.5 + 0.5 * torch.cos(2 * math.pi * (u * rows + v * columns))
            for u, v in wave_vectors(height, width)[:num_classes]
        ]
        self.register_buffer("patterns", torch.stack(waves), persistent=False)

    @classmethod
    def max_classes(cls, image_shape: Shape, options: Mapping[str, Any]) -> int:
        """One per wave that the image has enough pixels for."""
        return len(wave_vectors(image_shape[1], image_shape[2]))

    def write(self, images: Tensor, labels: Tensor) -> Tensor:
        """(M, C, H, W) mixed with the patterns of ``labels`` (M,), the same in every channel."""
        return self._mix(images, self.patterns[labels])

    def neutral(self, images: Tensor) -> Tensor:
        """(N, C, H, W) mixed with the mean of all patterns."""
        return self._mix(images, self.patterns.mean(0, keepdim=True))

    def _mix(self, images: Tensor, pattern: Tensor) -> Tensor:
        return self.keep * images + self.intensity * pattern[:, None].to(images.dtype)


def wave_vectors(height: int, width: int) -> list[tuple[int, int]]:
    """All (u, v) whose cosines differ on a height x width grid: the released ones, then by speed.

    >>> wave_vectors(4, 4)[:3]
    [(1, -1), (1, 1), (0, 1)]
    """
    fits = [
        (u, v)
        for u in range((height + 1) // 2)
        for v in range(-((width - 1) // 2), (width + 1) // 2)
        if (u, v) > (0, 0)
    ]
    first = [vector for vector in RELEASED if vector in fits]
    rest = sorted((v for v in fits if v not in first), key=lambda v: (math.hypot(*v), v))
    return first + rest
