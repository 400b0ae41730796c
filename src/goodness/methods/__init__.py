"""Named combinations of the axes with a paper's values, one short file each."""

from goodness.methods.base import METHODS, REACH, Locality, Method, baseline, register

__all__ = ["METHODS", "REACH", "Locality", "Method", "baseline", "register"]
