"""Axis: how the blocks' scores or features become one prediction, as a fold over blocks."""

from goodness.readout.base import READOUTS, Readout

__all__ = ["READOUTS", "Readout"]
