"""Names of files and classes, and what others wrote, as a terminal may show them."""

from __future__ import annotations

import re

CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0 and C1: escape sequences begin with one of them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # these change the order of what follows
    "\u2028\u2029\ud800-\udfff]"  # further ends of lines, and bytes that are no UTF-8
)


def printable(text: str, lines: bool = False) -> str:
    """A text with its control characters escaped, as in Python: ``\\x1b``, ``\\n``.

    Args:
        text: of anybody.
        lines: whether ends of lines and tabs stay.
    """
    return CONTROL.sub(lambda found: _escaped(found[0], lines), text)


def _escaped(character: str, lines: bool) -> str:
    return character if lines and character in "\n\t" else ascii(character)[1:-1]
