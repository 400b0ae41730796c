"""What torchrun tells a process of its place; read without importing torch."""

from __future__ import annotations

import os
from typing import NamedTuple

KEYS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


class Launch(NamedTuple):
    """A process among those that torchrun has started."""

    rank: int = 0
    local_rank: int = 0
    """Its number on its own machine."""
    size: int = 1
    """How many there are on all machines."""


def launched() -> Launch | None:
    """This process's place, from torchrun's environment; None where torchrun has not started it."""
    values = [os.environ.get(key, "") for key in KEYS]
    return Launch(*map(int, values)) if all(value.isdecimal() for value in values) else None
