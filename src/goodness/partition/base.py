from __future__ import annotations

from collections.abc import Callable

from goodness.registry import Registry

PARTITIONS: Registry[Callable[..., set[int]]] = Registry("partition", __package__)
"""Rules ``(chain, *, options) -> places``: the atoms of the chain before which it is cut."""
