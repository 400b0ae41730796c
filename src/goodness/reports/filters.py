"""The filters that see the image, as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from torch import Tensor, nn

from goodness.models.whitening import Whitening
from goodness.network.network import Network

MOST, COLUMNS = 64, 16
WIDTH = 36
"""A filter is at least about so wide on the page."""


@dataclass(frozen=True)
class Filters:
    """The filters of the first layer."""

    png: bytes
    """A pixel for every weight, filters in rows with a gap of one clear pixel between them."""
    width: int
    """Of the picture on a page, in pixels."""
    shown: int
    count: int
    shape: tuple[int, int, int]
    """(C, H, W) of a filter, with all channels that enter."""
    fixed: bool
    """Whether they whiten patches, and are not learnt."""


def first_filters(network: Network) -> Filters | None:
    """Filters of the first convolution, or the weights of units that see the whole image.

    Each is on its own scale, from black for its largest weight below 0 to white; grey is 0. Where a
    label enters as a further channel, the channels of the image alone are drawn.

    Returns:
        None where there are none, or not over channels that can be shown.
    """
    shape, kinds = network.image_shape, (nn.Conv2d, nn.Linear, Whitening)
    layer = next((part for part in network[0].body.modules() if isinstance(part, kinds)), None)
    if layer is None:
        return None
    weight, channels = layer.weight.detach().float().cpu(), shape[0]
    if weight.dim() == 2 and weight.shape[1] == math.prod(shape):
        weight = weight.unflatten(1, shape)
    if channels not in (1, 3) or weight.dim() != 4 or weight.shape[1] < channels:
        return None
    shown = weight[:MOST, :channels]
    side = weight.shape[3]
    columns = min(COLUMNS, len(shown))
    return Filters(
        png=_grid(shown, columns),
        width=columns * (side + 1) * max(1, round(WIDTH / side)),
        shown=len(shown),
        count=len(weight),
        shape=(weight.shape[1], weight.shape[2], weight.shape[3]),
        fixed=isinstance(layer, Whitening),
    )


def _grid(filters: Tensor, columns: int) -> bytes:
    """Filters (F, 1 or 3, H, W) as a PNG."""
    count, _, height, width = filters.shape
    largest = filters.abs().amax((1, 2, 3), keepdim=True).nan_to_num(0, 0, 0).clamp(min=1e-12)
    values = (filters.nan_to_num(0, 0, 0) / largest).clamp(-1, 1) * 127.5 + 127.5
    tiles = values.round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    rows = -(-count // columns)
    grid = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), dtype=np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + 1), place % columns * (width + 1)
        grid[top : top + height, left : left + width, :3] = tile
        grid[top : top + height, left : left + width, 3] = 255
    written = BytesIO()
    Image.fromarray(grid).save(written, "PNG", optimize=True)
    return written.getvalue()
