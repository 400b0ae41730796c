"""Named combinations of the axes with a paper's values, one short file each."""

from goodness.methods.base import METHODS, Locality, Method

__all__ = ["METHODS", "Locality", "Method"]
