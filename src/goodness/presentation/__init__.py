"""Axis: how an image, and for some methods its label, enters the first block."""

from goodness.presentation.base import PRESENTATIONS, Presentation

__all__ = ["PRESENTATIONS", "Presentation"]
