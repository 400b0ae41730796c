from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from goodness.engine.learner import Learner
from goodness.engine.network import Network
from goodness.engine.run_folder import RunFolder
from goodness.engine.totals import Totals

T = TypeVar("T")
GO_ON, SAVE = 0, -1
"""Decisions after a step; a positive one is the signal that ends the run."""


class State(NamedTuple):
    """What beside the weights is needed to go on with a run."""

    tensors: dict[str, Tensor]
    """As `Learner.state` gives it."""
    plain: dict[str, Any]
    sums: Tensor
    """What `Totals` has counted."""


class Ranks:
    """The processes that train one network; here this one alone.

    Args:
        device: what this process computes on.
    """

    count = 1
    """How many there are."""
    leads = True
    """Whether this one validates, writes and shows; one of them does."""
    resumes_totals = True
    """Whether this one goes on with what a resumed epoch had counted; one of them does."""
    reads_images = True
    """Whether this one needs the images of a batch, or its labels alone."""
    command = "goodness train"
    """How the run is started."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.wish: Callable[[], int] = lambda: GO_ON
        """What the leading one would do after this step; a `Loop` sets it."""

    def learner(self, network: Network, class_weights: Tensor | None) -> Learner:
        """What trains this rank's part of the network.

        Raises:
            InputError: this network cannot be trained by so many ranks.
        """
        return Learner(network, class_weights)

    def share(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's rows of a batch of images and labels."""
        return x, y

    def decide(self) -> int:
        """What all do after the step that is done, the same one everywhere."""
        return self.wish()

    def gather(self, learner: Learner, totals: Totals) -> State:
        """Bring what all ranks have trained together at the leading one.

        Returns:
            There, the whole state, and the network has all weights; elsewhere what is its own.
        """
        return State(*learner.state(), totals.sums)

    def tell(self, value: T) -> T:
        """The leading rank's value, at all of them."""
        return value

    def kept_in(self, run: RunFolder) -> None:
        """Note where the run is kept."""
