"""``goodness methods``, ``models``, ``data``, ``recipes``, ``runs``: what can be named."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodness.cli.options import AsJson, Values, takes
from goodness.cli.output import SCHEMA, console, page, percent, print_json, table
from goodness.errors import InputError

if TYPE_CHECKING:
    from goodness.results import RunSummary

PRETRAINED = "pretrained"
"""What names of trained networks in this package begin with, as those of a family do."""


@takes("imports", settings=False)
def methods(values: Values, as_json: AsJson = False) -> None:
    """List the methods, each a named combination of parts."""
    values()
    from goodness.methods import METHODS
    from goodness.presentation import PRESENTATIONS

    rows = [
        {
            "name": method.name,
            "title": method.title,
            "paper": method.paper,
            "locality": method.locality.value,
            "presentation": PRESENTATIONS.long_form(method.values["presentation"])["name"],
        }
        for method in map(METHODS.__getitem__, METHODS)
    ]
    _show(rows, as_json)


@takes("imports", settings=False)
def models(
    values: Values,
    family: Annotated[
        str | None,
        typer.Argument(
            metavar="[torchvision|timm|pretrained]",
            help="Whose models, or the trained networks of this package; default: our own.",
        ),
    ] = None,
    like: Annotated[
        str, typer.Option(metavar="PATTERN", help="Only names like this, e.g. 'resnet*'.")
    ] = "*",
    as_json: AsJson = False,
) -> None:
    """List the models: our own, those of torchvision or timm that classify images, trained ones."""
    values()
    if family == PRETRAINED:
        _show_pretrained(like, as_json)
        return
    from goodness.listings import list_models
    from goodness.models import FAMILIES, MODELS

    rows = [{"name": name} for name in list_models(like, family)]
    if family is None:
        for row in rows:
            row["title"] = (inspect.getdoc(MODELS[row["name"]]) or "").partition("\n")[0]
        if not as_json:
            others = (*FAMILIES, PRETRAINED)
            rows += [{"name": f"{f}/…", "title": f"See 'goodness models {f}'."} for f in others]
    if not rows:
        raise InputError(f"no model of {family} is like '{like}'")
    _show(rows, as_json)


def _show_pretrained(like: str, as_json: bool) -> None:
    """Each trained network's data, accuracy and size."""
    from goodness.listings import list_pretrained
    from goodness.sharing.folder import SharedFolder
    from goodness.sharing.locating import locate

    rows = []
    for name in list_pretrained(like):
        shared = SharedFolder(locate(name))
        result = shared.read_result()
        assert result is not None
        assert result.test is not None
        row: dict[str, Any] = {"name": name, "data": result.data, "method": result.method}
        size = shared.weights_file.stat().st_size
        accuracy, parameters = result.test.accuracy, result.train.parameters
        if as_json:
            row |= {"accuracy": accuracy, "parameters": parameters, "bytes": size}
        else:
            row |= {"test accuracy": percent(accuracy), "parameters": f"{parameters:,}"}
            row["size"] = f"{size / 1e6:.2f} MB"
        rows.append(row)
    if not rows:
        raise InputError(f"no pretrained network is like '{like}'")
    _show(rows, as_json)


@takes("imports", settings=False)
def recipes(values: Values, as_json: AsJson = False) -> None:
    """List the recipes: whole trainings, with what they cost and reach."""
    values()
    from goodness.recipes import RECIPES

    rows = []
    for recipe in map(RECIPES.__getitem__, RECIPES):
        row = {"name": recipe.name, "method": recipe.method}
        if as_json:
            facts = {"minutes": recipe.minutes, "accuracy": recipe.accuracy, "seeds": recipe.seeds}
            rows.append({**row, **facts, "hardware": recipe.hardware, "command": recipe.command})
            continue
        reached = "not measured"
        if recipe.accuracy is not None:
            mean, deviation = recipe.accuracy
            spread = f" ± {deviation:.2f}" if recipe.seeds > 1 else ""
            reached = f"{mean:.2f}{spread} % ({recipe.seeds} seeds)"
        took = "" if recipe.minutes is None else f"{recipe.minutes:g} min"
        rows.append({**row, "test accuracy": reached, "time": took, "hardware": recipe.hardware})
    _show(rows, as_json)


def data(as_json: AsJson = False) -> None:
    """List the data sets known by name; a folder of class folders works as well."""
    from goodness.data import data_names

    _show(data_names(), as_json)


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="All runs below it.", show_default="runs")
    ] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the runs in a folder: method, data, how far they are, accuracy, date."""
    from goodness.listings import list_runs

    found = list_runs(folder)
    if as_json:
        _show([run.to_json() for run in found], as_json)
    elif not found:
        console().print(f"no runs in '{folder}'", soft_wrap=True)
    else:
        _show([_run_row(run) for run in found], as_json)


def _run_row(run: RunSummary) -> dict[str, Any]:
    return {
        "run": run.path,
        "method": run.method or "–",
        "data": run.data or "–",
        "epochs": f"{run.epoch}/{run.epochs}" if run.epochs else "–",
        "state": run.state,
        "val": percent(run.val),
        "test": percent(run.test),
        "began": (run.date or "–")[:16].replace("T", " "),
    }


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json([{"schema": SCHEMA, **row} for row in rows])
        return
    page().print(table(rows[0], (map(str, row.values()) for row in rows)))
