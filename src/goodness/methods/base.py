from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from goodness.registry import Registry


class Locality(str, Enum):
    """How far a method's learning reaches; proven by ``goodness.audit`` and the tests."""

    LAYER = "layer"
    """Each layer learns from its own loss; nothing later reaches it."""
    BLOCK = "block"
    """Each block of several layers does."""
    OVERLAPPING = "overlapping"
    """Gradients cross to the previous block and no further."""
    BROADCAST = "broadcast"
    """Errors or scores of later blocks reach earlier ones, without a gradient path."""
    READOUT_ONLY = "readout-only"
    """The blocks do not learn at all."""
    GLOBAL = "global"
    """Gradients cross the whole network."""


@dataclass(frozen=True)
class Method:
    """A named combination.

    Args:
        name: what the command line and the registry call it.
        title: one line for listings.
        paper: where it comes from.
        locality: what it promises.
        values: configuration values that differ from the defaults; see `goodness.config.Config`.
        for_data: further values for a data set of this name.
    """

    name: str
    title: str
    paper: str
    locality: Locality
    values: Mapping[str, Any]
    for_data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


METHODS: Registry[Method] = Registry("method", __package__)


def register(method: Method) -> Method:
    """Enter a method under its own name."""
    return METHODS.register(method.name)(method)
