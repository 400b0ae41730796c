from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from goodness.registry import Registry

UPDATES: Registry[type[Update]]


@dataclass
class Outcome:
    """What came out of one segment's forward; lists are in the order of its blocks."""

    loss: Tensor
    """The scalar to minimise, with graph."""
    losses: list[Tensor | None]
    """Mean loss of each block, detached; None where it is not judged."""
    scores: list[Tensor | None]
    """Class scores of each block, detached."""
    sent: list[Tensor]
    """What each block sends on, detached."""


class Update:
    """Runs a segment and leaves the gradient of its loss in ``parameter.grad``."""

    def __call__(self, run: Callable[[], Outcome], parameters: Sequence[nn.Parameter]) -> Outcome:
        """Call ``run()`` (once or more) and fill the gradients.

        Args:
            run: forward of one segment; its outcome holds the loss with graph.
            parameters: what the segment's owner trains; their ``grad`` is None on entry.

        Returns:
            The outcome whose activations are passed on.
        """
        raise NotImplementedError


UPDATES = Registry("update", __package__)
