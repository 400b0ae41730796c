"""Networks that can be named. Each is a plain `nn.Sequential` that a partition cuts into blocks."""

from goodness.models.base import MODELS

__all__ = ["MODELS"]
