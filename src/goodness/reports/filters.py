"""The filters that see the image, as a picture."""

from __future__ import annotations

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
    """The filters of the first convolution."""

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
    """Filters of the first convolution, each on its own scale: grey is 0, as far as it goes is 1.

    Where a label enters as a further channel, the channels of the image alone are drawn.

    Returns:
        None where the first block has no convolution over channels that can be shown.
    """
    channels = network.image_shape[0]
    kinds = nn.Conv2d, Whitening
    layer = next((part for part in network[0].body.modules() if isinstance(part, kinds)), None)
    if layer is None or channels not in (1, 3) or layer.weight.shape[1] < channels:
        return None
    weight = layer.weight.detach().float().cpu()
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
