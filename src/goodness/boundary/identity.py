from __future__ import annotations

from goodness.boundary.base import BOUNDARIES, Boundary


@BOUNDARIES.register("identity")
class Identity(Boundary):
    """The activations as they are, but for dropout."""
