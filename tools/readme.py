"""Write README.md's tables: methods from the registry, results from their records.

python tools/readme.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from goodness.methods import METHODS
from links import linked

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def methods() -> str:
    """One row per method."""
    rows = ["| name | what | paper | locality |", "|---|---|---|---|"]
    for name in METHODS:
        method = METHODS[name]
        rows.append(f"| `{name}` | {method.title} | {method.paper} | {method.locality.value} |")
    return "\n".join(rows) + "\n"


def results() -> str:
    """One row per record of ``benchmarks/level.py``."""
    rows = [
        "| comparison | `spectral-local`, test % | `backprop`, test % | seconds | passes |"
        " images/s, of backprop's | seeds | record |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted((ROOT / "results").glob("level-*.json")):
        columns = {method["method"]: method for method in json.loads(path.read_text())["methods"]}
        pair = columns["spectral-local"], columns["backprop"]
        speeds = [column["images_per_second"] for column in pair]
        cells = [
            path.stem.removeprefix("level-"),
            *(_accuracy(column) for column in pair),
            " / ".join(f"{column['seconds']:.0f}" for column in pair),
            " / ".join(f"{column['epochs']:.1f}" for column in pair),
            f"{speeds[0] / speeds[1]:.2f}",
            len(pair[0]["accuracies"]),
            f"[json](results/{path.name})",
        ]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"


def _accuracy(column: dict[str, Any]) -> str:
    """Mean and standard deviation between seeds, in %."""
    deviation = f" ± {100 * column['std']:.2f}" if column["std"] is not None else ""
    return f"{100 * column['mean']:.2f}{deviation}"


def updated(text: str) -> str:
    """README's text with fresh tables."""
    for name, table in (("methods", methods()), ("results", results())):
        start, end = f"<!-- {name}: start -->\n", f"<!-- {name}: end -->"
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = before + start + table + end + after
    return linked(text)


if __name__ == "__main__":
    old = README.read_text()
    if "--check" in sys.argv:
        sys.exit(0 if updated(old) == old else "README.md: a table is stale; run `make readme`")
    README.write_text(updated(old))
