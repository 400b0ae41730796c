from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from goodness.update.base import UPDATES, Outcome, Update


@UPDATES.register("gradient")
class Gradient(Update):
    """Reverse-mode autograd inside the segment."""

    def __call__(self, run: Callable[[], Outcome], parameters: Sequence[nn.Parameter]) -> Outcome:
        """One forward, one backward that ends at the segment's detached input."""
        outcome = run()
        outcome.loss.backward()
        return outcome
