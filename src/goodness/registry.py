"""One registry per axis: a choice lives in one file, is named once, and is found by its folder.

Adding a choice is adding a file: the first look-up imports every module of the axis's package,
so the command line, the docs table and the conformance tests see it without being told. Other
packages add choices by entry points, see `goodness.plugins`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from goodness.errors import InputError, unknown
from goodness.plugins import import_packages

T = TypeVar("T")


class Registry(Generic[T]):
    """The named choices of one axis, e.g. every objective.

    Args:
        kind: what an entry is, in error messages ("objective").
        package: the package whose modules register the entries; None if one module holds all.
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._imported = False

    @property
    def plural(self) -> str:
        """The axis, e.g. ``"boundaries"``; its entry points' group is ``goodness.<plural>``."""
        return f"{self.kind[:-1]}ies" if self.kind.endswith("y") else f"{self.kind}s"

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters a class or function under ``name``.

        Raises:
            InputError: the name is taken.
        """

        def enter(entry: T) -> T:
            if name in self._entries:
                raise InputError(f"two {self.plural} are called '{name}'; choose another name")
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        if name not in self.names():
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def names(self) -> list[str]:
        """All names, sorted."""
        if not self._imported:
            self._imported = True  # already: a module may look names up while it is imported
            try:
                package = importlib.import_module(self._package) if self._package else None
                for module in pkgutil.iter_modules(package.__path__ if package else ()):
                    importlib.import_module(f"{self._package}.{module.name}")
                import_packages(self.plural)
            except BaseException:
                self._imported = False  # or the next look-up would find some of the choices only
                raise
        return sorted(self._entries)

    def long_form(self, part: Any) -> Mapping[str, Any]:
        """A part as a mapping, of what stands for one: its name alone.

        Raises:
            InputError: it is neither.
        """
        if isinstance(part, str):
            return {"name": part}
        if not isinstance(part, Mapping):
            raise InputError(f"{self.kind}: a mapping is needed (got {part!r})")
        if "name" in part and not isinstance(part["name"], str):
            raise InputError(f"{self.kind}.name: a name is needed (got {part['name']!r})")
        return part

    def kept(self, given: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Those options of another choice that the one with this name has too."""
        known = options(self[name])
        return {key: value for key, value in given.items() if key in known}

    def resolve(self, part: Any) -> dict[str, Any]:
        """A part as the user wrote it, with every option filled in and checked.

        An entry's options are the keyword-only parameters of its signature.

        Args:
            part: ``"rms"`` or ``{"name": "rms", "dropout": 0.1}``.

        Returns:
            ``{"name": ..., option: value, ...}`` in the order of the signature.

        Raises:
            InputError: unknown name or option (with the nearest one), or a value of a wrong type.
        """
        given = dict(self.long_form(part))
        if "name" not in given:
            raise InputError(f"the {self.kind} needs a name (one of: {', '.join(self.names())})")
        name = given.pop("name")
        known = options(self[name])
        for key in given:
            if key not in known:
                raise unknown(
                    f"option of {self.kind} '{name}'",
                    f"{self.kind}.{key}",
                    (f"{self.kind}.{option}" for option in known),
                )
        resolved: dict[str, Any] = {"name": name}
        for key, (annotation, default) in known.items():
            try:
                value = given.get(key, default)
                resolved[key] = TypeAdapter(annotation).validate_python(value)
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise InputError(f"{self.kind}.{key}: {reason} (got {value!r})") from None
        return resolved

    def make(self, part: Mapping[str, Any], *positional: Any) -> Any:
        """Call the entry that ``part`` names with its options (see `resolve`)."""
        chosen = dict(part)
        return self[chosen.pop("name")](*positional, **chosen)  # type: ignore[operator]


def options(entry: Any) -> dict[str, tuple[Any, Any]]:
    """The keyword-only parameters of ``entry``: name to (type, default)."""
    function = entry.__init__ if inspect.isclass(entry) else entry
    types = get_type_hints(function, include_extras=True)
    return {
        parameter.name: (types.get(parameter.name, Any), parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
