"""Where output goes: what was asked for to standard output, how it is going to standard error."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from goodness.printable import CONTROL, printable
from goodness.results import SCHEMA as SCHEMA
from goodness.wording import duration as duration
from goodness.wording import percent as percent

if TYPE_CHECKING:
    import torch


PIPE_WIDTH = 10_000


def show(path: object) -> None:
    """Print where something is; on a terminal with what it would obey escaped."""
    print(printable(str(path)) if sys.stdout.isatty() else path)


def console() -> Console:
    """Standard error, for what a command is doing."""
    return _console(stderr=True)


def page(file: TextIO | None = None) -> Console:
    """Standard output, for the table that a command was called for; with ``--json`` JSON is.

    Args:
        file: where to instead.
    """
    return _console(stderr=False, file=file)


def _console(stderr: bool, file: TextIO | None = None) -> Console:
    # A file or pipe has no width: lines long enough for tables, whatever is in them.
    target = file or (sys.stderr if stderr else sys.stdout)
    width = None if target.isatty() else PIPE_WIDTH
    # No markup: a path or class name may contain [brackets].
    return _Console(
        file=file, stderr=stderr, width=width, markup=False, highlight=False, soft_wrap=False
    )


class _Console(Console):
    """A console on which no text is an escape sequence; it writes its own alone."""

    def render_str(self, text: str, **how: Any) -> Text:
        """All texts come through here, those in tables, too."""
        return super().render_str(printable(text, lines=True), **how)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    print(json_text(value, sys.stdout))


def json_text(value: Any, file: TextIO | None = None, indent: int | None = 2) -> str:
    """One JSON document, for a file with an encoding of its own."""
    unicode = "utf" in (getattr(file, "encoding", None) or "utf-8").lower()
    text = json.dumps(value, indent=indent, ensure_ascii=not unicode)
    # What a terminal would obey, and bytes of a file's name that are no UTF-8, which cannot be
    # printed, become JSON's \u....
    return "".join(
        f"\\u{ord(sign):04x}" if sign != "\n" and CONTROL.match(sign) else sign for sign in text
    )


def command_line() -> str:
    """What the user typed, for records."""
    return shlex.join(["goodness", *sys.argv[1:]])


def record_head(device: torch.device) -> dict[str, Any]:
    """What every record of a measurement begins with."""
    from goodness.reports.environment import environment

    found = environment(None, device)
    return {"schema": SCHEMA, "command": command_line(), "environment": found}


def show_record(
    record: Mapping[str, Any],
    folder: Path | None,
    name: str,
    draw: Callable[[Mapping[str, Any], Path], None],
    as_json: bool,
) -> bool:
    """Write ``<name>.json`` and what ``draw`` makes of it, ``<name>.png``, where there is a folder.

    Returns:
        Whether it was printed too.
    """
    from goodness.files import write_json

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{name}.json", record)
        draw(record, folder / f"{name}.png")
    if as_json:
        print_json(record)
    return as_json


def table(
    columns: Iterable[str], rows: Iterable[Iterable[str]], numbers: Container[str] = ()
) -> Table:
    """A table; the columns named in ``numbers`` are set to the right."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        # In a terminal too narrow for it a cell goes on in the next line; nothing is cut off.
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made
