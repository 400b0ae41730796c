"""A chain of convolutions as wide as gives it a number of trained parameters."""

from __future__ import annotations

from collections.abc import Sequence

from goodness.clock import Clock
from goodness.config import Config, changed
from goodness.errors import InputError
from goodness.learning.learner import Learner
from goodness.network.build import build
from goodness.types import Shape

WIDEST = 100.0
"""The largest factor on widths that is tried."""


def widths_of(config: Config) -> list[int]:
    """The widths of a model's layers.

    Raises:
        InputError: it has none that can be scaled.
    """
    widths = config.model.get("widths")
    if not isinstance(widths, list):
        raise InputError(
            f"match_parameters: model '{config.model['name']}' has no widths to scale (use a chain"
            " that has, such as --model small-cnn)"
        )
    return widths


def matching(
    config: Config, wanted: int, image_shape: Shape, num_classes: int
) -> tuple[list[int], int]:
    """The widths, all scaled alike, that come nearest to a number of trained parameters.

    Args:
        config: of the network to scale.
        wanted: the number.
        image_shape: (C, H, W).
        num_classes: K.

    Returns:
        The widths and the number that they give.

    Raises:
        InputError: the model has no widths, or even the widest tried are too few.
    """
    own = widths_of(config)
    counted: dict[tuple[int, ...], int] = {}

    def count(factor: float) -> tuple[list[int], int]:
        widths = tuple(max(1, round(factor * width)) for width in own)
        if widths not in counted:
            counted[widths] = _trained(config, widths, image_shape, num_classes)
        return list(widths), counted[widths]

    low, high = 0.0, 1.0
    while count(high)[1] < wanted:
        low, high = high, 2 * high
        if high > WIDEST:
            raise InputError(
                f"match_parameters: {wanted:,} parameters are more than widths"
                f" {WIDEST:g} times as large give"
            )
    while count(low)[0] != count(high)[0] and high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if count(middle)[1] >= wanted else (middle, high)
    return min((count(low), count(high)), key=lambda found: abs(found[1] - wanted))


def _trained(config: Config, widths: Sequence[int], image_shape: Shape, num_classes: int) -> int:
    """The parameters that a network of these widths trains, heads included."""
    model = {**config.model, "widths": list(widths)}
    network = build(
        changed(config, {"model": model}),
        image_shape=image_shape,
        num_classes=num_classes,
        initial=False,
    )
    return Learner(network, run=Clock(0, 1, 1)).trained_parameters
