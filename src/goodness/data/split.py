"""One part of a data set, served in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from goodness.data.images import to_pixels
from goodness.data.source import Source


class LazyImages(Dataset[Tensor]):
    """Images decoded each time they are asked for, where memory does not hold them all."""

    def __init__(self, source: Source, shape: tuple[int, int, int]) -> None:
        self.source = source
        self.shape = shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Tensor:
        channels, height, width = self.shape
        pixels = to_pixels(self.source.open(index), channels, (height, width))
        return torch.tensor(pixels)


class Split:
    """Images (N, C, H, W) as uint8, with labels.

    Attributes:
        labels: int64 (N,), on the CPU.
        skipped: the names of unreadable images that were left out.
    """

    def __init__(self, images: Tensor | LazyImages, labels: Tensor, skipped: list[str]) -> None:
        self._images = images
        self.labels = labels
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of every image."""
        channels, height, width = self._images.shape[-3:]
        return channels, height, width

    @property
    def in_memory(self) -> bool:
        """Whether the images were decoded once, ahead of use."""
        return isinstance(self._images, Tensor)

    def digest(self) -> str:
        """Tells images, labels and their order from others; images not in memory go by names."""
        found = hashlib.blake2b(self.labels.numpy().tobytes(), digest_size=16)
        if isinstance(self._images, Tensor):
            found.update(self._images.cpu().contiguous().numpy().data)
        else:
            source = self._images.source
            found.update("\n".join(map(source.name, range(len(source)))).encode())
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
            Images, uint8 (n, C, H, W), and labels, int64 (n,), copies on ``device``.
        """
        device = torch.device(device)
        order = torch.arange(len(self)) if order is None else order
        order = order[start * batch_size :]
        if not len(order):  # splitting nothing gives one empty batch
            return iter(())
        if isinstance(self._images, Tensor):
            return self._from_memory(self._images, order, batch_size, device)
        return self._from_source(self._images, order.cpu(), batch_size, device, num_workers)

    def label_batches(
        self, batch_size: int, device: torch.device | str, *, order: Tensor, start: int = 0
    ) -> Iterator[Tensor]:
        """The labels of the same `batches`, int64 (n,) each, without decoding an image."""
        for rows in order.cpu()[start * batch_size :].split(batch_size):
            yield self.labels[rows].to(device)

    def _from_memory(
        self, images: Tensor, order: Tensor, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if device.type == "cuda":
            # Once, for good: from here on no batch crosses from host to device.
            self._images = images = images.to(device)
        labels = self.labels.to(images.device)
        for rows in order.to(images.device).split(batch_size):
            yield images[rows].to(device), labels[rows].to(device)

    def _from_source(
        self,
        images: LazyImages,
        order: Tensor,
        batch_size: int,
        device: torch.device,
        num_workers: int,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        rows = order.split(batch_size)
        loader = DataLoader(
            images,
            batch_sampler=[batch.tolist() for batch in rows],
            num_workers=num_workers,
            pin_memory=device.type == "cuda",
        )
        for batch, indices in zip(loader, rows, strict=True):
            yield batch.to(device, non_blocking=True), self.labels[indices].to(device)
