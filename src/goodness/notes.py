"""What was decided for the user, who may want to know: a warning of a kind of its own.

The command line prints it as ``note: ...``; from Python it is a warning like any other.
"""

from __future__ import annotations

import warnings


class Note(UserWarning):
    """A choice that was made where none was given, and how to make another one."""


def note(text: str) -> None:
    """Tell the user."""
    warnings.warn(text, Note, stacklevel=3)
