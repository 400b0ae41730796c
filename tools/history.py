"""Write docs/history.md: accuracies that were measured again, and the former ones with commits.

python tools/history.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from runs import accuracies  # noqa: E402  (beside the scripts that write the records)

PAGE = ROOT / "docs" / "history.md"


def page() -> str:
    """One row per number that has a former one."""
    rows = []
    for path in sorted((ROOT / "results").glob("*.json")):
        content = json.loads(path.read_text())
        now = accuracies(content)
        for former in content.get("former", []):
            for name, value in former["accuracies"].items():
                current = f"{100 * now[name]:.2f}" if name in now else "not measured again"
                commit = (former["commit"] or "unknown")[:8]
                link = f"[{path.stem}](../results/{path.name})"
                rows.append(f"| {link} | {name} | {100 * value:.2f} | `{commit}` | {current} |")
    lines = [
        "# Numbers that were measured again",
        "",
        "Test accuracy in %. A script that writes a record anew keeps in it what another commit had"
        " measured (`former`).",
        "",
    ]
    if not rows:
        return "\n".join([*lines, "None yet."]) + "\n"
    head = ["| record | row | former | commit | now |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *head, *rows]) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        fresh = PAGE.exists() and PAGE.read_text() == page()
        sys.exit(0 if fresh else "docs/history.md is stale: run 'make readme'")
    PAGE.write_text(page())
