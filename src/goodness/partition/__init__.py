"""Axis: where a network is cut into blocks."""

from goodness.partition.base import PARTITIONS
from goodness.partition.chain import Chain
from goodness.partition.pieces import Piece, Section, split, split_by_hand
from goodness.partition.view import View

__all__ = ["PARTITIONS", "Chain", "Piece", "Section", "View", "split", "split_by_hand"]
