from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from goodness.errors import unknown
from goodness.registry import Registry


class Partitions(Registry[Callable[..., set[int]]]):
    """The rules; a number stands for the one that makes so many blocks."""

    def long_form(self, part: Any) -> Mapping[str, Any]:
        """A rule as a mapping, of its name, a number of blocks, or a mapping.

        Raises:
            InputError: it is neither.
        """
        text = str(part)
        if isinstance(part, int | str) and text.isdecimal():
            return {"name": "count", "blocks": int(text)}
        if isinstance(part, str) and part not in self.names():
            names = [name for name in self if name != "count"]
            raise unknown("partition", part, [*names, "a number of blocks"])
        return super().long_form(part)


PARTITIONS = Partitions("partition", __package__)
"""Rules ``(chain, *, options) -> places``: the atoms of the chain before which it is cut."""
