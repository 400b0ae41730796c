"""Axis: the loss and the class scores of one block, from its features."""

from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Later, Objective

__all__ = ["OBJECTIVES", "BlockSpec", "Context", "Later", "Objective"]
