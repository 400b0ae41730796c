"""Axis: how an image, and for some methods its label, enters the first block."""

from goodness.presentation.base import PRESENTATIONS, Labelled, Presentation

__all__ = ["PRESENTATIONS", "Labelled", "Presentation"]
