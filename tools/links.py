"""Make arXiv numbers links, in Markdown that is written by hand.

python tools/links.py [--check]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = r"```.*?```|`[^`\n]*`|\[[^\]]*\]\([^)]*\)"
"""Code and links stay as they are."""
NUMBER = r"(?:arXiv )?(?<![\d.])\d{4}\.\d{5}(?![\d.]*\d)"


def linked(text: str) -> str:
    """Markdown whose arXiv numbers, with ``arXiv`` before them or without, are links."""

    def link(found: re.Match[str]) -> str:
        whole = found[0]
        if found["number"] is None:
            return whole
        return f"[{whole}](https://arxiv.org/abs/{whole.removeprefix('arXiv ')})"

    return re.sub(f"{KEPT}|(?P<number>{NUMBER})", link, text, flags=re.DOTALL)


def main() -> int:
    """Write the pages, or only tell whether a link is missing."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "results" / "README.md"]
    stale = [path for path in pages if linked(path.read_text()) != path.read_text()]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} lacks links: run 'make readme'", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        path.write_text(linked(path.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
