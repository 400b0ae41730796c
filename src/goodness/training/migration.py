"""What earlier versions wrote into run folders, as this one reads it; one step per version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from goodness.errors import InputError

SCHEMA = 2
"""Version of a run folder's JSON; it rises when a name changes or goes."""

Content = dict[str, Any]

KEYS_SINCE_2 = {
    "classes": "class_names",
    "workers": "num_workers",
    "threads": "num_threads",
    "clip": "clip_grad_norm",
    "accumulate": "accumulate_steps",
    "checkpointing": "recompute",
    "cache": "feature_cache",
    "weights": "init_from",
    "skip_bad": "skip_unreadable",
    "standardise": "normalize",
    "schedule": "plan",
    "rate": "lr_schedule",
}
FACTS_SINCE_2 = {"judged": "features", "sent": "output"}


def current_config(content: Mapping[str, Any], where: str) -> Content:
    """The keys of a ``config.json`` of any version.

    Args:
        content: of the file; version 1 had no number.
        where: the file, for errors.

    Raises:
        InputError: a newer goodness wrote it.
    """
    values = _current({"schema": 1, **content}, where, {1: _config_from_1})
    del values["schema"]
    return values


def current_checkpoint(content: Mapping[str, Any], where: str) -> Content:
    """The JSON of a checkpoint of any version.

    Raises:
        InputError: a newer goodness wrote it.
    """
    return _current(content, where, {1: _checkpoint_from_1})


def _current(
    content: Mapping[str, Any], where: str, steps: Mapping[int, Callable[[Content], Content]]
) -> Content:
    schema = content["schema"]
    if schema > SCHEMA:
        raise InputError(
            f"{where} has schema {schema}, this goodness reads up to {SCHEMA}; upgrade goodness"
        )
    values = dict(content)
    for version in range(schema, SCHEMA):
        values = steps[version](values)
    return {**values, "schema": SCHEMA}


def _config_from_1(values: Content) -> Content:
    augment = _renamed(values.get("augment", {}), {"greyscale": "grayscale"})
    return {**_renamed(values, KEYS_SINCE_2), "augment": augment}


def _checkpoint_from_1(values: Content) -> Content:
    blocks = [_renamed(block, FACTS_SINCE_2) for block in values.get("blocks", ())]
    return {**values, "blocks": blocks} if blocks else values


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> Content:
    return {names.get(key, key): value for key, value in values.items()}
