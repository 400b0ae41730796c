"""What devices differ in: double precision, and waiting for them."""

from __future__ import annotations

import torch
from torch import Tensor

WITHOUT_FLOAT64 = ("mps",)
"""Kinds of devices that have no float64, not even to hold it."""


def widest(device: torch.device) -> torch.dtype:
    """The type for sums on a device: float64, or float32 where there is none.

    In float32 whole numbers are exact up to 2^24, some 16 million images.
    """
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64


def wide(tensor: Tensor) -> Tensor:
    """A tensor in float64; that of a device which has none comes to the CPU."""
    return (tensor.cpu() if tensor.device.type in WITHOUT_FLOAT64 else tensor).double()


def placed(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; on the CPU if it is float64 and the device has none."""
    stays = tensor.dtype == torch.float64 and device.type in WITHOUT_FLOAT64
    return tensor.to("cpu" if stays else device)


def synchronize(device: torch.device) -> None:
    """Wait until all work given to a device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
