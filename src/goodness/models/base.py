from __future__ import annotations

from collections.abc import Callable

from torch import nn

from goodness.registry import Registry

MODELS: Registry[Callable[..., nn.Sequential]] = Registry("model", __package__)
"""Builders ``(image, classes, *, options) -> nn.Sequential``; ``image`` is the input's (C, H,
W)."""
