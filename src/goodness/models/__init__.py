"""Networks that can be named, which a partition cuts into blocks: plain chains of this package, and
all of torchvision and timm."""

from goodness.models.base import FAMILIES, MODELS

__all__ = ["FAMILIES", "MODELS"]
