"""Training images mixed in pairs, with labels to match: mixup, CutMix and Attentive CutMix."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from goodness.data.settings import ATTENTION_GRID, AugmentConfig, Mixture
from goodness.errors import InputError
from goodness.functional import class_shares
from goodness.seeds import mix
from goodness.types import Shape

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


class Mix(NamedTuple):
    """How a batch of N images is mixed; each takes in a part of the one before it."""

    way: Mixture
    share: Tensor
    """(N,), how much of its own label an image keeps, 0 to 1."""
    boxes: Tensor
    """int64 (4, N): top, left, bottom and right of what CutMix pastes; empty otherwise."""


class Mixing:
    """Mixes batches; the draws belong to (seed, step), and to no image.

    So a process that has the labels alone knows what the images become, and one that is resumed
    draws the same.

    Args:
        config: which ways, and how strong; where several are on, each batch is mixed in one of
            them.
        image_shape: (C, H, W) of the images.
        num_classes: K.
        seed: the run's.
        look: how strong the map of the first block is at every position, from images (N, C, H, W)
            to (N, H', W'); asked where cells are chosen by it.

    Raises:
        InputError: images too small for the cells of Attentive CutMix.
    """

    def __init__(
        self,
        config: AugmentConfig,
        image_shape: Shape,
        num_classes: int,
        seed: int,
        look: Callable[[Tensor], Tensor],
    ) -> None:
        self.config = config
        self.num_classes = num_classes
        self._size = image_shape[1:]
        self._seed = seed
        self._look = look
        if "attentive_cutmix" in config.mixing and min(self._size) < ATTENTION_GRID:
            raise InputError(
                f"augment.attentive_cutmix: an image of {self._size[0]}x{self._size[1]} pixels has"
                f" no {ATTENTION_GRID}x{ATTENTION_GRID} cells (use augment.cutmix)"
            )

    def draw(self, step: int, count: int) -> Mix | None:
        """How a step's batch of ``count`` images is mixed; None where it is left alone."""
        config, draws = self.config, np.random.default_rng(mix(self._seed, "mixing", step))
        if draws.random() >= config.mix_share:
            return None
        way = config.mixing[draws.integers(len(config.mixing))]
        share, boxes = np.empty(0), np.empty((4, 0), np.int64)
        if way == "mixup":
            share = draws.beta(config.mixup, config.mixup, count)
        elif way == "cutmix":
            wanted = draws.beta(config.cutmix, config.cutmix, count)
            centres = draws.integers(0, np.array(self._size)[:, None], (2, count))
            boxes, share = cut_boxes(wanted, centres, self._size)
        else:
            share = np.full(count, 1 - config.attentive_cutmix / ATTENTION_GRID**2)
        return Mix(way, torch.from_numpy(share).float(), torch.from_numpy(boxes))

    def labels(self, how: Mix, y: Tensor) -> Tensor:
        """Labels (N,) as soft ones, float32 (N, K)."""
        own = class_shares(y, self.num_classes, torch.float32)
        return blended(own, how.share)

    def images(self, how: Mix, images: Tensor) -> Tensor:
        """The mixed images (N, C, H, W)."""
        if how.way == "mixup":
            return blended(images, how.share)
        if how.way == "cutmix":
            pasted = inside(how.boxes.to(images.device), self._size)
        else:
            pasted = strongest(self._look(images), self.config.attentive_cutmix, self._size)
            pasted = before(pasted)  # the same place, of the image that is pasted
        return torch.where(pasted[:, None], before(images), images)


def before(rows: Tensor) -> Tensor:
    """For each row the one before it, as torchvision pairs them; a batch has been shuffled."""
    return rows.roll(1, 0)


def blended(rows: Tensor, share: Tensor) -> Tensor:
    """``share * row + (1 - share) * the row before it``: mixup (arXiv 1710.09412), equation 1.

    Args:
        rows: (N, ...).
        share: (N,), 0 to 1.
    """
    share = share.to(rows.device, rows.dtype).reshape(-1, *(1,) * (rows.dim() - 1))
    return share * rows + (1 - share) * before(rows)


def cut_boxes(share: Numbers, centres: Places, size: tuple[int, int]) -> tuple[Places, Numbers]:
    """CutMix's rectangles (arXiv 1905.04899): sides of sqrt(1 - share) of the image's.

    Args:
        share: (N,), wanted of an image; where its rectangle is cut by the edge, more is left.
        centres: (2, N), rows and columns.
        size: (H, W).

    Returns:
        (4, N): top, left, bottom, right; and the shares that are left, (N,).
    """
    sides = np.array(size)[:, None]
    half = (0.5 * np.sqrt(1 - share) * sides).astype(np.int64)
    start, end = np.maximum(centres - half, 0), np.minimum(centres + half, sides)
    return np.concatenate([start, end]), 1 - (end - start).prod(0) / sides.prod()


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Which pixels lie in boxes (4, N), bool (N, H, W)."""
    top, left, bottom, right = boxes[:, :, None]
    rows = torch.arange(size[0], device=boxes.device)
    columns = torch.arange(size[1], device=boxes.device)
    tall, wide = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return tall[:, :, None] & wide[:, None, :]


def strongest(strength: Tensor, cells: int, size: tuple[int, int]) -> Tensor:
    """The pixels of the strongest cells of each image: Attentive CutMix (arXiv 2003.13048).

    Args:
        strength: (N, H', W'), averaged over the cells; of equal ones the first in reading order.
        cells: how many, of a grid of `ATTENTION_GRID` x `ATTENTION_GRID`.
        size: (H, W) of the images.

    Returns:
        bool (N, H, W).
    """
    grid = F.adaptive_avg_pool2d(strength[:, None], ATTENTION_GRID).flatten(1)
    order = grid.sort(dim=1, descending=True, stable=True).indices[:, :cells]
    chosen = torch.zeros_like(grid, dtype=torch.bool).scatter_(1, order, True)
    rows, columns = (
        torch.arange(side, device=grid.device) * ATTENTION_GRID // side for side in size
    )
    return chosen.unflatten(1, (ATTENTION_GRID, ATTENTION_GRID))[:, rows][:, :, columns]
