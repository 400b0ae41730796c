from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from goodness.registry import Registry

if TYPE_CHECKING:
    from goodness.engine.segment import Outcome

UPDATES: Registry[type[Update]]


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
