"""Optional dependencies: imported late, and named where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from goodness.errors import InputError


def needs(extra: str, *names: str) -> list[ModuleType]:
    """The modules of an extra.

    Raises:
        InputError: one of them is not installed.
    """
    try:
        return [importlib.import_module(name) for name in names]
    except ModuleNotFoundError as error:
        raise InputError(
            f"{str(error.name).partition('.')[0]} is not installed: pip install 'goodness[{extra}]'"
        ) from None
