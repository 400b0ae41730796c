"""Optional dependencies: imported late, and named where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from goodness.errors import InputError


def needs(extra: str, *names: str, who: str = "") -> list[ModuleType]:
    """The modules of an extra.

    Args:
        extra: its name in ``pyproject.toml``.
        names: what is imported, e.g. ``"executorch.exir"``.
        who: what needs them, e.g. a file, if the user should know.

    Raises:
        InputError: one of them is not installed, or cannot be imported.
    """
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        package = str(error.name or names[0]).partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError)
        why = "is not installed" if missing else f"cannot be imported ({error})"
        said = f"{who}: " if who else ""
        raise InputError(f"{said}{package} {why}: pip install 'goodness[{extra}]'") from None
