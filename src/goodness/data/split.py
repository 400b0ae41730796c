"""One part of a data set, served in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from goodness.data.images import to_pixels
from goodness.data.moments import Moments
from goodness.data.source import Source
from goodness.data.workers import by_threads, read_batches

STATISTICS_PIXELS = 2**20
"""Sums are taken of so many at a time."""


class StoredImages(Protocol):
    """Images that memory does not hold."""

    shape: tuple[int, int, int]
    """(C, H, W) of each."""
    dtype: torch.dtype

    def identity(self) -> bytes:
        """Tells them from others, as far as that is known without reading them."""

    def batches(
        self, rows: Sequence[Tensor], num_workers: int, pin_memory: bool, start: int
    ) -> Iterator[Tensor]:
        """The batches of these rows, int64 (n,) each, without the first ``start``: (n, C, H, W)."""


class LazyImages(Dataset[Tensor]):
    """Images decoded each time they are asked for, where memory does not hold them all."""

    dtype = torch.uint8

    def __init__(self, source: Source, shape: tuple[int, int, int]) -> None:
        self.source = source
        self.shape = shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Tensor:
        channels, height, width = self.shape
        pixels = to_pixels(self.source.open(index), channels, (height, width))
        return torch.tensor(pixels)

    def identity(self) -> bytes:
        """Their names."""
        return "\n".join(map(self.source.name, range(len(self)))).encode()

    def batches(
        self, rows: Sequence[Tensor], num_workers: int, pin_memory: bool, start: int
    ) -> Iterator[Tensor]:
        """See `StoredImages`; where there are no processes for it, threads decode."""
        wanted = [batch.tolist() for batch in rows[start:]]
        if num_workers == 0 and wanted:
            images = by_threads(self.__getitem__, chain.from_iterable(wanted), len(wanted[0]))
            for batch in wanted:
                yield torch.stack(list(islice(images, len(batch))))
            return
        yield from read_batches(self, wanted, num_workers=num_workers, pin_memory=pin_memory)


class Split:
    """Images (N, C, H, W) as uint8 with labels; of a program's own data maybe as float32.

    Attributes:
        labels: int64 (N,), on the CPU.
        skipped: the names of unreadable images that were left out.
    """

    def __init__(
        self,
        images: Tensor | StoredImages,
        labels: Tensor,
        skipped: list[str],
        moments: Moments | None = None,
        names: Callable[[int], str] | None = None,
    ) -> None:
        self._images = images
        self.labels = labels
        self.skipped = skipped
        self._moments = moments
        self._names = names

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """What to call image ``index``: its file, or its place in what it was read from."""
        return f"image {index}" if self._names is None else self._names(index)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of every image."""
        channels, height, width = self._images.shape[-3:]
        return channels, height, width

    @property
    def in_memory(self) -> bool:
        """Whether the images were decoded once, ahead of use."""
        return isinstance(self._images, Tensor)

    @property
    def memory_bytes(self) -> int:
        """What the images take in memory."""
        return self._images.nbytes if isinstance(self._images, Tensor) else 0

    @property
    def dtype(self) -> torch.dtype:
        """uint8, or float32 of a program's own data."""
        return self._images.dtype

    def moments(self) -> Moments:
        """Sums over all pixels; those of images not in memory were taken when they were read."""
        if self._moments is None:
            self._moments = Moments()
            _, height, width = self.image_shape
            size = max(1, STATISTICS_PIXELS // (height * width))
            for images, _ in self.batches(size, "cpu"):
                self._moments.add(images)
        return self._moments

    def digest(self) -> str:
        """Tells images, labels and their order from others; images not in memory go by names."""
        found = hashlib.blake2b(self.labels.numpy().tobytes(), digest_size=16)
        if isinstance(self._images, Tensor):
            found.update(self._images.cpu().contiguous().numpy().data)
        else:
            found.update(self._images.identity())
        return found.hexdigest()

    def batches(
        self,
        batch_size: int,
        device: torch.device | str,
        *,
        order: Tensor | None = None,
        num_workers: int = 0,
        start: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Consecutive batches, the last one perhaps smaller.

        Args:
            batch_size: the images in a batch.
            device: where the batches are wanted.
            order: int64 indices of the images to serve, in order; None serves each once.
            num_workers: processes that decode, used only where the images are not in memory.
            start: the number of batches to leave out at the beginning.

        Yields:
            Images, uint8 or float32 (n, C, H, W), and labels, int64 (n,), copies on ``device``.
        """
        device = torch.device(device)
        order = torch.arange(len(self)) if order is None else order
        if start * batch_size >= len(order):  # splitting nothing gives one empty batch
            return iter(())
        if isinstance(self._images, Tensor):
            rest = order[start * batch_size :]
            return self._from_memory(self._images, rest, batch_size, device)
        rows = order.cpu().split(batch_size)
        return self._from_store(self._images, rows, device, num_workers, start)

    def label_batches(
        self, batch_size: int, device: torch.device | str, *, order: Tensor, start: int = 0
    ) -> Iterator[Tensor]:
        """The labels of the same `batches`, int64 (n,) each, without decoding an image."""
        for rows in order.cpu()[start * batch_size :].split(batch_size):
            yield self.labels[rows].to(device)

    def _from_memory(
        self, images: Tensor, order: Tensor, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if device.type != "cpu":
            # Once, for good: from here on no batch crosses from host to device.
            self._images = images = images.to(device)
        labels = self.labels.to(images.device)
        for rows in order.to(images.device).split(batch_size):
            yield images[rows].to(device), labels[rows].to(device)

    def _from_store(
        self,
        images: StoredImages,
        rows: Sequence[Tensor],
        device: torch.device,
        num_workers: int,
        start: int,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        served = images.batches(rows, num_workers, device.type == "cuda", start)
        for batch, indices in zip(served, rows[start:], strict=True):
            yield batch.to(device, non_blocking=True), self.labels[indices].to(device)
