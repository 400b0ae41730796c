"""Standard output and standard error, whatever they are: closed, a broken pipe, a full disk."""

from __future__ import annotations

import codecs
import os
import sys
from typing import TextIO

from goodness.printable import printable

WRITABLE = "goodness-writable"
"""How what an encoding lacks is written: bytes of a file's name that are no UTF-8 as they are, and
other characters as ``\\u....``."""


class Escaped:
    """A terminal that is written text which it might obey.

    Args:
        file: the terminal.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.encoding = file.encoding

    def write(self, text: str) -> int:
        """Write a text; only ends of lines and tabs are control characters in it."""
        return self._file.write(printable(text, lines=True))

    def flush(self) -> None:
        """Pass on what was written."""
        self._file.flush()

    def isatty(self) -> bool:
        """It is a terminal."""
        return True


def prepare_streams() -> None:
    """Let every text be written to both streams; into nothing where they are closed."""
    codecs.register_error(WRITABLE, _as_bytes)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who has started this process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=WRITABLE)


def finish_output() -> None:
    """Write what is still to be written to standard output.

    Raises:
        SystemExit: 1, where this fails. A reader that has gone is told nothing.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        # Or Python would try again at its end, and say so in several lines.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):
            print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
        sys.exit(1)


def _as_bytes(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end]
    written = (
        bytes([ord(sign) - 0xDC00]) if "\udc80" <= sign <= "\udcff" else ascii(sign)[1:-1].encode()
        for sign in signs
    )
    return b"".join(written), error.end
