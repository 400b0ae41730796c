"""Axis: where a network is cut into blocks."""

from goodness.partition.base import PARTITIONS, Piece

__all__ = ["PARTITIONS", "Piece"]
