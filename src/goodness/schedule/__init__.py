"""Axis: which blocks learn together at a step, as a plan of segments."""

from goodness.schedule.base import SCHEDULES, Schedule, Segment

__all__ = ["SCHEDULES", "Schedule", "Segment"]
