"""What each method is trained with in a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from goodness.config import merge
from goodness.data.settings import AugmentConfig
from goodness.methods import METHODS
from goodness.methods.base import BY_DATA, CROP_AND_FLIP

Protocol = Literal["equal", "paper"]

EQUAL: Mapping[str, Any] = {
    "model": {"name": "small-cnn", "widths": [24, 48, 96, 192], "norm": "batch", "pool": "max"},
    "batch_size": 128,
    "image_size": None,
    "normalize": True,
    "lr_schedule": {"name": "cosine", "warmup": 0.1, "final": 0.0, "every": "step"},
}
"""One network, data order, augmentation and rate schedule for all; seeds decide the order."""
FACTORS: Mapping[Protocol, tuple[float, ...]] = {"equal": (1 / 3, 1.0, 3.0), "paper": (1.0,)}
"""The learning rates tried, as multiples of the method's own; one alone tells how long to train."""


def values_for(
    method: str, data: str, protocol: Protocol, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Configuration values beside the method's own.

    Args:
        method: its name.
        data: name or folder of the data.
        protocol: ``"equal"``: the same network, data treatment and rate schedule for all, but for
            what `adaptations` says; ``"paper"``: nothing but the method's own values.
        given: the user's values for all methods, which rule; see `goodness.config.merge`.
    """
    if protocol == "paper":
        return dict(given)
    augment = BY_DATA.get(data, {}).get("augment", CROP_AND_FLIP)
    none = AugmentConfig.model_validate({}).model_dump()
    return merge(EQUAL, {"augment": {**none, **augment}}, METHODS[method].equal, given)


def adaptations(method: str, protocol: Protocol) -> str:
    """Where a method departs from the common terms, and why; empty where it does not."""
    return METHODS[method].equal_note if protocol == "equal" else ""
