from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from goodness.registry import Registry


class Piece(NamedTuple):
    """One block of the network before it gets its objective and boundary."""

    name: str
    body: nn.Sequential
    """What is judged: up to and including the last activation."""
    tail: nn.Sequential
    """Parameter-free pooling behind it, which belongs to what is sent on."""


PARTITIONS: Registry[Callable[[nn.Sequential], list[Piece]]] = Registry("partition", __package__)


def is_pool(module: nn.Module) -> bool:
    """Whether a module only pools."""
    return isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d)


def cut(layers: nn.Sequential, starts: set[str]) -> list[Piece]:
    """Cut a chain before every module named in ``starts``; trailing pools become the tail."""
    groups: list[dict[str, nn.Module]] = []
    for name, module in layers.named_children():
        if name in starts or not groups:
            groups.append({})
        groups[-1][name] = module
    pieces = []
    for group in groups:
        names = list(group)
        while len(names) > 1 and is_pool(group[names[-1]]):
            names.pop()
        body = nn.Sequential()
        tail = nn.Sequential()
        for name, module in group.items():
            (body if name in names else tail).add_module(name, module)
        pieces.append(Piece(names[0], body, tail))
    return pieces
