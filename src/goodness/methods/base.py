from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Gradients cross to the previous block and no further at a step; over several steps what the
    last block learns reaches the first."""
    BROADCAST = "broadcast"
    """Errors, scores or weights of later blocks reach earlier ones, without a gradient path."""
    READOUT_ONLY = "readout-only"
    """The blocks do not learn at all."""
    GLOBAL = "global"
    """Gradients cross the whole network."""


REACH = {
    Locality.LAYER: "Each layer learns from its own loss; nothing later reaches it.",
    Locality.BLOCK: "Each block of layers learns from its own loss; nothing later reaches it.",
    Locality.OVERLAPPING: "Gradients cross to the previous block and no further; over several steps"
    " what the last block learns reaches the first.",
    Locality.BROADCAST: "Later blocks' scores, errors or weights reach earlier ones, without a"
    " gradient.",
    Locality.READOUT_ONLY: "The blocks do not learn at all.",
    Locality.GLOBAL: "Gradients cross the whole network.",
}
"""The same for readers of pages and model cards."""


@dataclass(frozen=True)
class Method:
    """A named combination.

    Args:
        name: what the command line and the registry call it.
        title: one line for listings.
        equation: what a block minimises, on one line.
        use: when to choose it.
        paper: where it comes from.
        locality: what it promises.
        values: configuration values that differ from the defaults; see `goodness.config.Config`.
        for_data: further values for a data set of this name.
        published: test accuracy in % by data set, as its authors report it.
        equal: values that it keeps when methods are compared on equal terms.
        equal_note: why.
        ours: what no source that we found tells, and is our choice.
        baseline: whether it is what the others are measured against.
    """

    name: str
    title: str
    equation: str
    use: str
    paper: str
    locality: Locality
    values: Mapping[str, Any]
    for_data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    equal: Mapping[str, Any] = field(default_factory=dict)
    equal_note: str = ""
    ours: Sequence[str] = ()
    baseline: bool = False


LAYERWISE: Mapping[str, Any] = {
    "partition": "layer",
    "presentation": "plain",
    "boundary": "identity",
    "update": "gradient",
    "plan": "together",
}
"""Every layer learns at every step, from its own loss on images without labels in them."""
CROP_AND_FLIP = {"crop": 4, "flip": True}
"""The augmentation of natural images in most of the field's code."""
BY_DATA: Mapping[str, Mapping[str, Any]] = {
    "digits": {"augment": {"crop": 1}},
    "mnist": {"augment": {"crop": 2}},
    "fashion_mnist": {"augment": {"crop": 2, "flip": True}},
    "svhn": {"augment": {}},
}
"""Weaker ones where they would cut off or mirror a digit."""
FAST_FRAME: Mapping[str, Any] = {
    "model": {
        "name": "small-cnn",
        "norm": "batch",
        "pool": "max",
        "order": "conv-pool-norm-act",
        "activation": "gelu",
        "init": "dirac",
        "whiten": 2,
    },
    "optimizer": {"name": "muon", "lr": 0.1},
    "lr_schedule": {"name": "linear", "start": 0.0, "every": "step"},
    "label_smoothing": 0.1,
    "batch_size": 250,
    "augment": {"crop": 2, "padding": "reflect", "flip": "alternate"},
}
"""All but the learning rule of the fast CIFAR recipes (airbench94, arXiv 2404.00498), as far as it
helps on two CPU cores; backprop can have it as well."""
SHORT_RUN = "rates are tried around 3e-3, as the paper's are for hundreds of epochs"

METHODS: Registry[Method] = Registry("method", __package__)


def register(method: Method) -> Method:
    """Enter a method under its own name."""
    return METHODS.register(method.name)(method)


def baseline() -> str:
    """The name of the method that the others are measured against."""
    return next(name for name in METHODS if METHODS[name].baseline)
