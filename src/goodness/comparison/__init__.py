"""Several methods on equal terms: train them all, and report what came out."""

from goodness.comparison.report import write_report
from goodness.comparison.study import Study

__all__ = ["Study", "write_report"]
