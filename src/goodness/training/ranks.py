from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from goodness.clock import Clock
from goodness.learning.learner import Learner
from goodness.network.network import Network
from goodness.training.epoch_metrics import EpochMetrics
from goodness.training.run_folder import RunFolder

T = TypeVar("T")
CONTINUE, SAVE = 0, -1
"""Decisions after a step; a positive one is the signal that ends the run."""


class State(NamedTuple):
    """What beside the weights is needed to go on with a run."""

    tensors: dict[str, Tensor]
    """As `Learner.state_dict` gives it."""
    plain: dict[str, Any]
    sums: Tensor
    """What `EpochMetrics` has counted."""

    @classmethod
    def of(cls, learner: Learner, totals: EpochMetrics) -> State:
        """This rank's own."""
        state = learner.state_dict()
        return cls(state["tensors"], state["plain"], totals.sums)


class Ranks:
    """The processes that train one network; here this one alone.

    Args:
        device: what this process computes on.
    """

    count = 1
    """How many there are."""
    is_leader = True
    """Whether this one validates, writes and shows; one of them does."""
    resumes_totals = True
    """Whether this one goes on with what a resumed epoch had counted; one of them does."""
    reads_images = True
    """Whether this one needs the images of a batch, or its labels alone."""
    command = "goodness train"
    """How the run is started."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.request: Callable[[], int] = lambda: CONTINUE
        """What the leading one would do after this step; a `Trainer` sets it."""

    def learner(self, network: Network, class_weights: Tensor | None, run: Clock) -> Learner:
        """What trains this rank's part of the network.

        Raises:
            InputError: this network cannot be trained by so many ranks.
        """
        return Learner(network, class_weights, run=run)

    def share(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's rows of a batch of images and labels."""
        return x, y

    def decide(self) -> int:
        """What all do after the step that is done, the same one everywhere."""
        return self.request()

    def gather(self, learner: Learner, totals: EpochMetrics) -> State:
        """Bring what all ranks have trained together at the leading one.

        Returns:
            There, the whole state, and the network has all weights; elsewhere what is its own.
        """
        return State.of(learner, totals)

    def broadcast(self, value: T) -> T:
        """The leading rank's value, at all of them."""
        return value

    def set_run(self, run: RunFolder) -> None:
        """Note where the run is kept."""
