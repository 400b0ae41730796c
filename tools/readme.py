"""Write the table of methods into README.md, from the registry; ``--check`` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from goodness.methods import METHODS

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- methods: start -->\n", "<!-- methods: end -->"


def table() -> str:
    """One Markdown row per method."""
    rows = ["| name | what | paper | locality |", "|---|---|---|---|"]
    for name in METHODS:
        method = METHODS[name]
        rows.append(f"| `{name}` | {method.title} | {method.paper} | {method.locality.value} |")
    return "\n".join(rows) + "\n"


def updated(text: str) -> str:
    """README's text with a fresh table."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return before + START + table() + END + after


if __name__ == "__main__":
    old = README.read_text()
    if "--check" in sys.argv:
        sys.exit(0 if updated(old) == old else "README.md: the table is stale; run `make readme`")
    README.write_text(updated(old))
