"""Axis: from a block's features to its output, the input of the next block."""

from goodness.boundary.base import BOUNDARIES, Boundary

__all__ = ["BOUNDARIES", "Boundary"]
