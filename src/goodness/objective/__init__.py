"""Axis: the loss and the class scores of one block, from its features."""

from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Later, Objective
from goodness.objective.difficulty import ClassDifficulty

__all__ = ["OBJECTIVES", "BlockSpec", "ClassDifficulty", "Context", "Later", "Objective"]
