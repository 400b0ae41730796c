"""``goodness methods``, ``goodness models``, ``goodness data``: what can be named."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from goodness.cli.output import SCHEMA, console, print_json, table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def methods(as_json: AsJson = False) -> None:
    """List the methods, each a named combination of parts."""
    from goodness.methods import METHODS

    rows = []
    for name in METHODS:
        method = METHODS[name]
        presentation = method.values.get("presentation", "plain")
        rows.append(
            {
                "name": name,
                "title": method.title,
                "paper": method.paper,
                "locality": method.locality.value,
                "presentation": (
                    presentation if isinstance(presentation, str) else presentation["name"]
                ),
            }
        )
    _show(rows, as_json)


def models(as_json: AsJson = False) -> None:
    """List the models."""
    from goodness.models import MODELS

    _show(
        [
            {"name": name, "title": (inspect.getdoc(MODELS[name]) or "").partition("\n")[0]}
            for name in MODELS
        ],
        as_json,
    )


def data(as_json: AsJson = False) -> None:
    """List the data sets known by name; a folder of class folders works as well."""
    from goodness.data import data_names

    _show(data_names(), as_json)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json([{"schema": SCHEMA, **row} for row in rows])
        return
    shown = table(*rows[0])
    for row in rows:
        shown.add_row(*map(str, row.values()))
    console().print(shown)
