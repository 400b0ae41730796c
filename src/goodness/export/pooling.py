"""Poolings as reshape and mean or maximum, in programs that learn.

ExecuTorch's portable kernels lack the gradients of average pooling, and in version 1.5 that of
maximum pooling adds to whatever its memory held before. Reshape, mean and maximum have gradients of
elementary operators. It is done in the exported form alone: while goodness trains, torch's own
kernels are faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def plain_pooling() -> dict[Any, Any]:
    """For `torch.export.ExportedProgram.run_decompositions`.

    Poolings with strides or edges of their own stay as they are.
    """
    aten = torch.ops.aten
    return {
        aten.avg_pool2d.default: _avg_pool2d,
        aten.adaptive_avg_pool2d.default: _adaptive_avg_pool2d,
        aten._adaptive_avg_pool2d.default: _adaptive_avg_pool2d,
        aten.max_pool2d.default: _max_pool2d,
    }


def _avg_pool2d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """(N, C, H, W) to (N, C, H // h, W // w)."""
    cells = None if divisor_override else _cells(x, kernel, stride, padding, ceil_mode)
    return NotImplemented if cells is None else cells.mean((-3, -1))


def _adaptive_avg_pool2d(x: Tensor, size: Sequence[int]) -> Any:
    """(N, C, H, W) to (N, C, *size); where that does not divide the map, by two products."""
    (rows, columns), (height, width) = size, x.shape[-2:]
    if height % rows == 0 and width % columns == 0:
        return _avg_pool2d(x, (height // rows, width // columns))
    across = x @ _averages(x, width, columns)
    return (across.transpose(-1, -2) @ _averages(x, height, rows)).transpose(-1, -2)


def _averages(x: Tensor, size: int, cells: int) -> Tensor:
    """The matrix (size, cells) that averages a line to overlapping cells as torch cuts them."""
    cell, place = torch.arange(cells), torch.arange(size)[:, None]
    start, end = cell * size // cells, ((cell + 1) * size + cells - 1) // cells
    inside = torch.logical_and(place >= start, place < end).to(x.dtype)
    return inside / inside.sum(0)


def _max_pool2d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Any:
    """(N, C, H, W) to (N, C, H // h, W // w).

    Equal maxima share the gradient, of which torch gives all to the first. Behind a ReLU they are
    zeros, which have none.
    """
    cells = None if set(dilation) != {1} else _cells(x, kernel, stride, padding, ceil_mode)
    return NotImplemented if cells is None else cells.amax((-3, -1))


def _cells(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil_mode: bool
) -> Tensor | None:
    """(N, C, H // h, h, W // w, w) without what is left over at the edges; None of other cells."""
    height, width = _pair(kernel)
    rows, columns = x.shape[-2] // height, x.shape[-1] // width
    whole = (rows * height, columns * width) == tuple(x.shape[-2:])
    if (stride and _pair(stride) != (height, width)) or any(padding) or (ceil_mode and not whole):
        return None
    x = x if whole else x[..., : rows * height, : columns * width]
    return x.unflatten(-1, (columns, width)).unflatten(-3, (rows, height))


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return (values[0], values[-1])
