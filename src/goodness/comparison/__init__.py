"""Several methods on equal terms: train them all, and report what came out."""

import goodness.reports  # noqa: F401  (before Matplotlib)
from goodness.comparison.report import write_report
from goodness.comparison.study import Study

__all__ = ["Study", "write_report"]
