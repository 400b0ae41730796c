"""How far a reader walks through one training step: Python calls, files and functions of it.

    python benchmarks/walk.py [METHOD]

Counts calls into this package only, by `sys.setprofile`, in the second step of a learner of four
blocks on digit-sized images: of the whole step, and of one block's turn. Also looks for import
circles: modules that import each other while they are imported.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import goodness
from goodness.clock import Clock

PACKAGE = Path(goodness.__file__).parent


class Walk:
    """What is called inside `watching`."""

    def __init__(self) -> None:
        self.calls = self.deepest = self._depth = 0
        self.functions: set[tuple[str, str, int]] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count calls inside."""
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(str(PACKAGE)) or event not in ("call", "return"):
            return
        if event == "return":
            self._depth -= 1
            return
        self._depth += 1
        self.deepest = max(self.deepest, self._depth)
        self.calls += 1
        self.functions.add((code.co_filename, code.co_name, code.co_firstlineno))

    def record(self) -> dict[str, Any]:
        """The counts."""
        return {
            "calls": self.calls,
            "functions": len(self.functions),
            "files": len({file for file, _, _ in self.functions}),
            "deepest": self.deepest,
        }


def circles() -> list[list[str]]:
    """Modules that import each other at run time, not for types alone nor inside functions."""
    edges: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        edges[name.removesuffix(".__init__")] = set(_imports(ast.parse(path.read_text()).body))
    known = {name: {e for e in found if e in edges} for name, found in edges.items()}
    found, state, stack = [], dict.fromkeys(known, 0), []

    def visit(name: str) -> None:
        state[name] = 1
        stack.append(name)
        for other in sorted(known[name]):
            if state[other] == 1 and other != name:
                found.append([*stack[stack.index(other) :], other])
            elif state[other] == 0:
                visit(other)
        stack.pop()
        state[name] = 2

    for name in sorted(known):
        if state[name] == 0:
            visit(name)
    return found


def _imports(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def measured(method: str) -> dict[str, Any]:
    """The counts of a step and of one block's turn."""
    network = goodness.build(method, image_shape=(1, 8, 8), num_classes=10)
    learner = goodness.Learner(network, run=Clock(0, 20, 10))
    x, y = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    learner.step(x, y)  # the first one sets things up
    whole, turn = Walk(), Walk()
    with whole.watching():
        learner.step(x, y)
    for number, one in enumerate(learner.turns(x, y)):
        if number != 1:
            one.learn()
            continue
        with turn.watching():
            one.learn()
    step, one = whole.record(), turn.record()
    return {"method": method, "blocks": len(network), "step": step, "turn": one}


def main(method: str) -> None:
    """Print the counts."""
    torch.set_num_threads(1)
    print(json.dumps({**measured(method), "circles": circles()}, indent=1))


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["asge-fast"]))
