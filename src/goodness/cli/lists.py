"""``goodness methods``, ``goodness models``, ``goodness data``: what can be named."""

from __future__ import annotations

import fnmatch
import inspect
from typing import Annotated, Any

import typer

from goodness.cli.options import AsJson
from goodness.cli.output import SCHEMA, page, print_json, table
from goodness.errors import InputError, unknown


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


def models(
    family: Annotated[
        str | None,
        typer.Argument(metavar="[torchvision|timm]", help="Whose models; default: our own."),
    ] = None,
    like: Annotated[
        str, typer.Option(metavar="PATTERN", help="Only names like this, e.g. 'resnet*'.")
    ] = "*",
    as_json: AsJson = False,
) -> None:
    """List the models: our own, or all that classify images of torchvision or timm."""
    from goodness.models import FAMILIES, MODELS

    if family is None:
        rows = [
            {"name": name, "title": (inspect.getdoc(MODELS[name]) or "").partition("\n")[0]}
            for name in fnmatch.filter(MODELS, like)
        ]
        if not as_json:
            rows.append({"name": "torchvision/…", "title": "See 'goodness models torchvision'."})
            rows.append({"name": "timm/…", "title": "See 'goodness models timm'."})
    elif family in FAMILIES:
        from goodness.models.zoo import names

        rows = [{"name": f"{family}/{name}"} for name in fnmatch.filter(names(family), like)]
    else:
        raise unknown("family of models", family, FAMILIES)
    if not rows:
        raise InputError(f"no model of {family} is like '{like}'")
    _show(rows, as_json)


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
    page().print(shown)
