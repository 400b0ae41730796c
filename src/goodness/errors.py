"""The errors a user can cause or meet, each a single line that says the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from goodness.printable import printable

FEW = 12
"""So many names are all listed beside the nearest one."""

NO_WORKER = (
    "a process that reads images was lost: it was killed, or lacked memory or room in /dev/shm (a"
    " smaller --num-workers helps; go on with --resume)"
)
"""Said where a process that reads images is gone."""


class GoodnessError(Exception):
    """Base of every error goodness raises on purpose; ``str(error)`` is one clear line."""

    rank: int | None = None
    """In a parallel run, the rank that was the first to meet an error."""

    def __str__(self) -> str:
        # A message names files and classes, whose names may hold anything.
        return printable(super().__str__())


class InputError(GoodnessError):
    """Bad input: a wrong name, path, image or option. The command line exits with 2."""


class RunError(GoodnessError):
    """A failure while running: a NaN loss, a full disk. The command line exits with 1."""


class Diverged(RunError):
    """A loss or weight is not finite.

    Args:
        what: which one.
        step: the step that made it, counted from 0.
        kept: where the run can be taken up, as text; empty where nowhere.
    """

    def __init__(self, what: str, step: int, kept: str = "") -> None:
        super().__init__(f"{what} is not finite at step {step}{kept}; try a smaller --lr")
        self.what, self.step = what, step


class EndedElsewhere(RunError):
    """In a parallel run another rank has met an error, and has said so."""


def reason(error: Exception) -> str:
    """What an error of another library or of the user's code says, in one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def unknown(kind: str, name: object, choices: Iterable[str]) -> InputError:
    """The error for a name that is not among ``choices``: the nearest one, and all if few."""
    known = sorted(choices)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    choose = f" (one of: {', '.join(known)})" if not near or len(known) <= FEW else ""
    return InputError(f"unknown {kind} '{name}'{hint}{choose}")


class Interrupted(GoodnessError):
    """A signal asked the run to end; its state is saved. The command line exits 128 + signum."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
