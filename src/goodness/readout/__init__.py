"""Axis: from the blocks' scores or outputs to one prediction, as a fold over blocks."""

from goodness.readout.base import READOUTS, Readout

__all__ = ["READOUTS", "Readout"]
