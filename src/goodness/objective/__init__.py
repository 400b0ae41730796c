"""Axis: how one block is judged, from its features to one loss per row and to class scores."""

from goodness.objective.base import OBJECTIVES, Look, Objective, Spec

__all__ = ["OBJECTIVES", "Look", "Objective", "Spec"]
