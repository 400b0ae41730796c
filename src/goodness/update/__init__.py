"""Axis: how the parameters of a segment get their gradient."""

from goodness.update.base import UPDATES, Update

__all__ = ["UPDATES", "Update"]
