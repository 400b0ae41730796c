"""From what the user typed to configuration values: config file < ``--set`` < named options."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from goodness.config import KEYS, check_values, merge
from goodness.errors import InputError
from goodness.files import at_home, check_folder
from goodness.types import Shape

if TYPE_CHECKING:
    from goodness.run import Run


LONGEST, LARGEST = 500_000, 100_000
"""Characters of a configuration file, and values that it may stand for."""
JSON_TYPES = ("null", "bool", "int", "float", "str", "seq", "map")


def gather(
    options: Mapping[str, Any],
    defaults: Mapping[str, Any],
    config: Path | None = None,
    settings: Iterable[str] | None = None,
    model_arg: Iterable[str] | None = None,
) -> dict[str, Any]:
    """The values that were asked for, in their long form.

    Args:
        options: the named options by key, None or empty where one is not given.
        defaults: values that all others beat.
        config: a YAML file.
        settings: texts ``key.path=value`` of ``--set``, the later ones stronger.
        model_arg: texts ``key=JSON``.

    Raises:
        InputError: a file that is missing or not a mapping, bad YAML, a setting without ``=``, an
            unknown key or name, a bad value of an option.
    """
    named = {key: _items(key, value) for key, value in options.items() if value not in (None, [])}
    check_values(named)
    given = [read_config(config)] if config else []
    given += [read_setting(text) for text in settings or ()]
    return merge(defaults, *given, named, *model_args(named.get("model", ""), model_arg))


def _items(key: str, value: Any) -> Any:
    """A list written with commas, where the key takes one."""
    kinds = KEYS[key].kinds
    if list not in kinds or not isinstance(value, str) or value in kinds:
        return value
    if float in kinds and "," not in value:
        return value
    return [item.strip() for item in value.split(",")]


def model_args(model: str, texts: Iterable[str] | None) -> list[dict[str, Any]]:
    """What ``--model-arg`` says, as layers of values; of torchvision and timm to the constructor.

    Raises:
        InputError: an argument without ``=``, or bad JSON.
    """
    from goodness.models import FAMILIES

    inside = ("model", "args") if model.partition("/")[0] in FAMILIES else ("model",)
    return [read_setting(text, "--model-arg", inside) for text in texts or ()]


def images_of(values: Mapping[str, Any], channels: int, least: int) -> tuple[Shape, int]:
    """The shape (C, H, W) of random images and how many of them are in a batch.

    Raises:
        InputError: fewer than are needed.
    """
    size, batch = values["image_size"], values["batch_size"]
    if batch < least:
        raise InputError(f"batch_size: at least {least} images are needed (got {batch})")
    return (channels, size, size), batch


def load_run(name: str, values: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    """A run on the device and with the threads that were asked for, and the other values."""
    import torch

    from goodness import api

    if "num_threads" in values:
        torch.set_num_threads(values.pop("num_threads"))
    run = api.load(name, device=values.pop("device", "auto"))
    if "max_pixels" in values:
        run.max_pixels = values.pop("max_pixels")
    return run, values


def output_folder(run: Run) -> Path:
    """Where a command writes about a run: into its own folder, or one that is made in ``runs``."""
    if run.own_folder is not None:
        return run.own_folder
    folder = Path("runs") / re.sub(r"[^\w.-]+", "-", f"of {run.name}")
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping."""
    try:
        # Not all of it: what is given may have no end.
        with at_home(path).open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"cannot read the config file {path}: {reason}") from None
    if len(text) > LONGEST:
        raise InputError(f"the config file {path} is longer than {LONGEST:,} characters")
    values = _parse(text, f"the config file {path}")
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"the config file {path} must hold 'key: value' lines")
    return values


def read_setting(text: str, option: str = "--set", inside: tuple[str, ...] = ()) -> dict[str, Any]:
    """``"model.widths=[32, 64]"`` as ``{"model": {"widths": [32, 64]}}``."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"{option} needs key=value, got '{text}'")
    parsed = _parse(value, f"{option} {path.strip()}")
    for key in reversed([*inside, *keys]):
        parsed = {key: parsed}
    return parsed


class _Loader(yaml.SafeLoader):
    """Reads what JSON can say too, as configurations are kept as JSON. A date is a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    value = int(loader.construct_yaml_int(node))
    try:
        str(value)  # hexadecimal digits have no limit, those that JSON keeps have
    except ValueError:
        raise ValueError("a whole number has too many digits") from None
    return value


_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in JSON_TYPES
}
_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def _parse(text: str, where: str) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if _size(node, {}) > LARGEST:
            raise ValueError("it holds too many values")
        return None if node is None else loader.construct_document(node)
    except Exception as error:  # an impossible date is a ValueError, !!bool x a KeyError, ...
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        reason = str(error) if isinstance(error, ValueError) else "it cannot be read"
        problem = getattr(error, "problem", None) or reason
        raise InputError(f"{where} is not valid YAML{line}: {problem}") from None


def _size(node: yaml.Node | None, known: dict[int, float]) -> float:
    """How many values a node stands for, those that aliases repeat counted each time.

    A node that is inside itself stands for infinitely many.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
