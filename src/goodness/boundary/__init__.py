"""Axis: what a block sends on to the next one, which is not what it is judged by."""

from goodness.boundary.base import BOUNDARIES, Boundary

__all__ = ["BOUNDARIES", "Boundary"]
