"""What a training step costs: seconds, bytes, and the bound that its convolutions set."""

import goodness.reports  # noqa: F401  (before Matplotlib)
