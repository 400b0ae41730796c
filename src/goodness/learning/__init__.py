"""The training step: who owns which parameters, one segment's turn on one batch, and its parts."""

from goodness.learning.learner import Learner, StepResult
from goodness.learning.turn import Turn

__all__ = ["Learner", "StepResult", "Turn"]
