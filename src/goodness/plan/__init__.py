"""Axis: which blocks learn together at a step, as a plan of segments."""

from goodness.plan.base import PLANS, Plan, Segment
from goodness.plan.frozen import Frozen
from goodness.plan.together import Together

__all__ = ["PLANS", "Frozen", "Plan", "Segment", "Together"]
