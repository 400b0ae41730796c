"""Axis: the loss and the class scores of one block, from its features."""

from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective

__all__ = ["OBJECTIVES", "BlockSpec", "Context", "Objective"]
