"""Axis: where a run's numbers are written beside its own files."""

from goodness.loggers.base import LOGGERS, Logger

__all__ = ["LOGGERS", "Logger"]
