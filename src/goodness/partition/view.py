"""A value between two blocks as a map of features (N, C, H, W), and back."""

from __future__ import annotations

import math

from torch import Tensor, nn


class View(nn.Module):
    """The identity, for what is a map. Subclasses view values of other shapes as maps."""

    def forward(self, x: Tensor) -> Tensor:
        """Features, (N, C, H, W)."""
        return x

    def whole(self) -> View:
        """A view that leaves nothing out, so that `gather` undoes it."""
        return self

    def spread(self, x: Tensor) -> Tensor:
        """The whole value as (N, C, H, W), for a boundary to work on; `gather` undoes it."""
        return self(x)

    def gather(self, x: Tensor) -> Tensor:
        """What `spread` made, in its own shape again."""
        return x


class Units(View):
    """Units of a fully connected layer, (N, D), as maps of one pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) to (N, D, 1, 1)."""
        return x[:, :, None, None]

    def gather(self, x: Tensor) -> Tensor:
        """(N, D, 1, 1) to (N, D)."""
        return x[:, :, 0, 0]


class ChannelsLast(View):
    """Maps whose channels are the last dimension, as in Swin."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to (N, C, H, W)."""
        return x.permute(0, 3, 1, 2)

    def gather(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, H, W, C)."""
        return x.permute(0, 2, 3, 1)


class Tokens(View):
    """Tokens of a transformer, the patches row by row behind class and register tokens.

    The patches alone are features. Where a class token is added it therefore stays as it was drawn;
    later blocks learn to use it.

    Args:
        tokens: how many there are, T.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.side = math.isqrt(tokens)
        self.others = tokens - self.side**2
        """Tokens that are no patch, if the patches are as many as a square has."""

    def forward(self, x: Tensor) -> Tensor:
        """The patches of (N, T, D) as (N, D, H, W)."""
        patches = x[:, self.others :].transpose(1, 2)
        return patches.unflatten(2, (self.side, self.side))

    def whole(self) -> View:
        """Every token."""
        return AllTokens()

    def spread(self, x: Tensor) -> Tensor:
        """(N, T, D) to (N, D, T, 1), every token."""
        return self.whole()(x)

    def gather(self, x: Tensor) -> Tensor:
        """(N, D, T, 1) to (N, T, D)."""
        return self.whole().gather(x)


class AllTokens(View):
    """Tokens of a transformer in one column."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) to (N, D, T, 1)."""
        return x.transpose(1, 2)[..., None]

    def gather(self, x: Tensor) -> Tensor:
        """(N, D, T, 1) to (N, T, D)."""
        return x[..., 0].transpose(1, 2)


class OverTime(View):
    """What neurons get or send over T time steps: the mean of its positive part is the features.

    Of spikes that is their rate.

    Args:
        steps: T.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C, H, W) to (N, C, H, W)."""
        return x.relu().mean(1)

    def whole(self) -> View:
        """Every step."""
        return EveryStep(self.steps)

    def spread(self, x: Tensor) -> Tensor:
        """(N, T, C, H, W) to (N, T C, H, W), every step."""
        return self.whole()(x)

    def gather(self, x: Tensor) -> Tensor:
        """(N, T C, H, W) to (N, T, C, H, W)."""
        return self.whole().gather(x)


class EveryStep(View):
    """Time steps as further channels.

    Args:
        steps: T.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C, H, W) to (N, T C, H, W)."""
        return x.flatten(1, 2)

    def gather(self, x: Tensor) -> Tensor:
        """(N, T C, H, W) to (N, T, C, H, W)."""
        return x.unflatten(1, (self.steps, -1))


def view_of(shape: tuple[int, ...], channels_last: bool) -> View:
    """The view of a value as a map.

    Args:
        shape: without the batch: (T, C, H, W), (C, H, W), (T, D) or (D,).
        channels_last: whether a (H, W, C) is meant.
    """
    if len(shape) == 4:
        return OverTime(shape[0])
    if len(shape) == 3:
        return ChannelsLast() if channels_last else View()
    return Tokens(shape[0]) if len(shape) == 2 else Units()
