"""Axis: which blocks learn together at a step, as a plan of segments."""

from goodness.schedule.base import SCHEDULES, Schedule, Segment
from goodness.schedule.frozen import Frozen
from goodness.schedule.together import Together

__all__ = ["SCHEDULES", "Frozen", "Schedule", "Segment", "Together"]
