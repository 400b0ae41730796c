"""Write README.md's tables: methods from the registry, results from their records.

python tools/readme.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean

from goodness.methods import METHODS

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
    """One row per record of ``benchmarks/accuracy.py``."""
    rows = [
        "| data | `asge-fast`, test % | `backprop`, test % | seconds | epochs | seeds | record |",
        "|---|---|---|---|---|---|---|",
    ]
    for data in ("digits", "mnist", "fashion_mnist", "cifar10"):
        path = ROOT / "results" / f"{data}.json"
        if not path.exists():
            continue
        columns = json.loads(path.read_text())["methods"]
        ours, theirs = columns["asge-fast"], columns["backprop"]
        accuracies = [f"{100 * column['test_accuracy']:.2f}" for column in (ours, theirs)]
        seconds, epochs = (
            " / ".join(
                f"{mean(run['train'][key] for run in column['runs']):.0f}"
                for column in (ours, theirs)
            )
            for key in ("seconds", "epochs")
        )
        seeds = len(ours["runs"])
        link = f"[json](results/{path.name})"
        cells = [data, *accuracies, seconds, epochs, seeds, link]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"


def updated(text: str) -> str:
    """README's text with fresh tables."""
    for name, table in (("methods", methods()), ("results", results())):
        start, end = f"<!-- {name}: start -->\n", f"<!-- {name}: end -->"
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = before + start + table + end + after
    return text


if __name__ == "__main__":
    old = README.read_text()
    if "--check" in sys.argv:
        sys.exit(0 if updated(old) == old else "README.md: a table is stale; run `make readme`")
    README.write_text(updated(old))
