"""From what the user typed to configuration values: config file < ``--set`` < named options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from goodness.errors import InputError, unknown


def gather(
    config: Path | None, settings: Iterable[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of a run, without those that nobody gave.

    Args:
        config: a YAML file.
        settings: texts ``key.path=value`` of ``--set``, the later ones stronger.
        options: the named options, None where one is not given.

    Raises:
        InputError: a file that is missing or not a mapping, bad YAML, a setting without ``=``, an
            unknown key.
    """
    # Late: pydantic takes a while to import.
    from goodness.config import SHORT_FORMS, Config, long_form

    named = {key: value for key, value in options.items() if value is not None}
    values: dict[str, Any] = {}
    for source in (
        read_config(config) if config else {},
        *(read_setting(text) for text in settings),
        named,
    ):
        values = merge(values, long_form(source))
    for key in values:
        # Here already, as `goodness.api.fit` has parameters that are no configuration.
        if key not in Config.model_fields:
            raise unknown("configuration key", key, [*Config.model_fields, *SHORT_FORMS])
    return values


def model_part(name: str | None, args: Iterable[str]) -> dict[str, Any] | str | None:
    """A model with what ``--model-arg`` says, in the form of the configuration's ``model``.

    Arguments of a network of torchvision or timm go to its own constructor.

    Raises:
        InputError: an argument without ``=``, or bad JSON.
    """
    given = {}
    for text in args:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--model-arg needs key=value, got '{text}'")
        given[key.strip()] = _parse(value, f"--model-arg {key.strip()}")
    if not given:
        return name
    options = {"args": given} if name is not None and "/" in name else given
    return options if name is None else {"name": name, **options}


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"cannot read the config file {path}: {reason}") from None
    values = _parse(text, f"the config file {path}")
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"the config file {path} must hold 'key: value' lines")
    return values


def read_setting(text: str) -> dict[str, Any]:
    """``"model.widths=[32, 64]"`` as ``{"model": {"widths": [32, 64]}}``."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"--set needs key.path=value, got '{text}'")
    parsed = _parse(value, f"--set {path.strip()}")
    for key in reversed(keys):
        parsed = {key: parsed}
    return parsed


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``under`` with the values of ``over`` put on top, key by key at every depth.

    A bare name is short for a part, so ``"vgg8"`` and ``{"norm": "batch"}`` become
    ``{"name": "vgg8", "norm": "batch"}``, and a name on top of options leaves them.
    """
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, str):
            value = {"name": value}
        elif isinstance(old, str) and isinstance(value, Mapping):
            old = {"name": old}
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merge(old, value)
        merged[key] = value
    return merged


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except Exception as error:  # an impossible date is a ValueError, !!bool x a KeyError, ...
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        reason = str(error) if isinstance(error, ValueError) else "it cannot be read"
        problem = getattr(error, "problem", None) or reason
        raise InputError(f"{where} is not valid YAML{line}: {problem}") from None
