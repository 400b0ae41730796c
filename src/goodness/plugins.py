"""Parts from elsewhere: of installed packages, by entry points, and of files, by ``--import``."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from goodness.errors import InputError, reason
from goodness.files import at_home

_USED: dict[str, dict[str, str]] = {}
_entry_points = cache(entry_points)


def import_packages(axis: str) -> None:
    """Import what installed packages name in the group ``goodness.<axis>``; they register parts.

    Args:
        axis: ``"methods"``, ``"objectives"``, ...

    Raises:
        InputError: one of them cannot be imported.
    """
    for point in _entry_points().select(group=f"goodness.{axis}"):
        name = "?" if point.dist is None else point.dist.name
        try:
            point.load()
        except Exception as error:  # whatever somebody else's code raises
            raise InputError(
                f"plug-in '{point.name}' of package '{name}' cannot be imported: {reason(error)}"
                " (repair or uninstall it)"
            ) from error
        version = "?" if point.dist is None else point.dist.version
        _USED[name] = {"package": name, "version": version}


def import_files(paths: Iterable[str | Path]) -> None:
    """Import Python files that register parts, each once in a process.

    Raises:
        InputError: a file is missing or cannot be imported.
    """
    for path in paths:
        file = at_home(path).absolute()
        if str(file) in _USED:
            continue
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            # A script may name itself, or have been imported by its own name.
            if all(getattr(m, "__file__", "") != str(file) for m in list(sys.modules.values())):
                _execute(file)
        except Exception as error:
            raise InputError(f"imports: '{file}' cannot be imported: {reason(error)}") from error
        _USED[str(file)] = {"file": str(file), "sha256": digest}


def _execute(file: Path) -> None:
    # A name of its own, by which objects of its classes can be pickled.
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # or it would pass for imported
        raise


def plugins() -> list[dict[str, str]]:
    """The plug-ins in use: ``package`` and ``version``, or ``file`` and ``sha256``."""
    return list(_USED.values())
