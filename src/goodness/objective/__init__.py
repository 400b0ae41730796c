"""Axis: how one block is judged, from its features to one loss per row and to class scores."""

from goodness.objective.base import OBJECTIVES, BlockSpec, Context, Objective

__all__ = ["OBJECTIVES", "BlockSpec", "Context", "Objective"]
