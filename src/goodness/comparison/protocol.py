"""What each method is trained with in a comparison."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Literal

from goodness.comparison.search import rates
from goodness.config import SHORT_FORMS, Config, merge, with_recipe
from goodness.data.settings import AugmentConfig
from goodness.errors import unknown
from goodness.methods import METHODS
from goodness.methods.base import BY_DATA, CROP_AND_FLIP
from goodness.readout import READOUTS

Protocol = Literal["equal", "paper"]

EQUAL: Mapping[str, Any] = {
    "model": {
        **{"name": "small-cnn", "widths": [24, 48, 96, 192], "norm": "batch", "pool": "max"},
        **{"activation": "relu", "order": "conv-norm-act", "init": "kaiming", "whiten": None},
    },
    "batch_size": 128,
    "image_size": None,
    "normalize": True,
    "lr_schedule": {"name": "cosine", "warmup": 0.1, "final": 0.0, "every": "step"},
}
"""One network, data order, augmentation and rate schedule for all; seeds decide the order."""
SEARCHED: Mapping[str, tuple[float, ...]] = {
    "weight_decay": (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "label_smoothing": (0.0, 0.05, 0.1, 0.2, 0.3),
}
"""Keys that can be searched on validation after the learning rate, and the values tried."""


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
    # A recipe's frame rules over the common one.
    given = with_recipe({**given, "method": method})
    return merge(EQUAL, {"augment": {**none, **augment}}, METHODS[method].equal, given)


def adaptations(method: str, protocol: Protocol) -> str:
    """Where a method departs from the common terms, and why; empty where it does not."""
    return METHODS[method].equal_note if protocol == "equal" else ""


def check_searched(keys: tuple[str, ...]) -> None:
    """Refuse keys that cannot be searched.

    Raises:
        InputError: naming the nearest one that can.
    """
    for key in keys:
        if key not in SEARCHED:
            raise unknown("key for --search", key, SEARCHED)


def ladder(key: str, config: Config, protocol: Protocol) -> tuple[list[float], int] | None:
    """The values of a key that are tried, in order, and the place of the configuration's own.

    On paper terms a method keeps its learning rate. None where it has a value for every block.
    """
    if key == "lr":
        default = config.optimizer["lr"]
        return rates(default) if protocol == "equal" else ([default], 0)
    own = config.optimizer[key] if key in SHORT_FORMS else getattr(config, key)
    if isinstance(own, list):
        return None
    values = sorted({*SEARCHED[key], own})
    return values, bisect_left(values, own)


def probes(config: Config, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Values that leave linear probes out, which take time and answer for no block that learns.

    Args:
        config: of a method.
        asked: the user's values, which may name one.
    """
    named = {config.readout, *asked.get("readouts", {})}
    probing = [n for n in config.readouts if READOUTS[n].per_block_scores and n not in named]
    left_out = probing if len(probing) < len(config.readouts) else []
    return {"readouts": dict.fromkeys(left_out)} if left_out else {}


def answering(config: Config, answer: str) -> dict[str, Any]:
    """Values by which every readout that learns is left out but the one that answers.

    If none that learns answers, the best of the others does, by validation: they cost nothing.

    Args:
        config: of a method.
        answer: the readout that answered best.
    """
    learning = [name for name in config.readouts if READOUTS[name].trainable]
    values: dict[str, Any] = {}
    if idle := [name for name in learning if name != answer]:
        values["readouts"] = dict.fromkeys(idle)
    if answer in learning:
        values["readout"] = answer
    return values
