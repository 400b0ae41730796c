"""``goodness export``: a trained network for torchvision, timm, torch, ONNX or ExecuTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goodness.cli.options import AsJson, Overwrite, RunName, Values, takes
from goodness.cli.output import SCHEMA, console, percent, print_json, show, table
from goodness.cli.show import note_boundary
from goodness.cli.values import output_folder
from goodness.export import Format
from goodness.files import check_file, check_folder

if TYPE_CHECKING:
    from goodness.results import Exported


@takes("data_root", settings=False)
def export(
    run: RunName,
    values: Values,
    format: Annotated[
        Format,
        typer.Option(help="The model's own weights, a program that answers, or a spiking graph."),
    ] = "safetensors",
    readout: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which readout answers; default: the run's.")
    ] = None,
    exits: Annotated[
        bool, typer.Option("--exits", help="Scores after every block as a second output.")
    ] = False,
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="Take uint8 pixels.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Quantise the ONNX model on training images, and measure the loss."
        ),
    ] = False,
    train: Annotated[
        bool,
        typer.Option("--train", help="ExecuTorch programs that learn, one per block, in a folder."),
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images that an ExecuTorch program takes. Default: 1."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A folder with --train. Default: in the run folder."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write the trained network for other programs; prints where."""
    if out is not None:
        check_folder(out) if train else check_file(out, overwrite)
    from goodness import api
    from goodness.export import default_name

    loaded = api.load(run, device="cpu")
    if out is None:
        out = output_folder(loaded) / default_name(format, int8=int8, train=train)
    written = loaded.export(
        format,
        out,
        readout=readout,
        exits=exits,
        with_preprocessing=with_preprocessing,
        int8=int8,
        train=train,
        batch=batch,
        overwrite=overwrite,
        **values(),
    )
    if format == "safetensors":
        note_boundary(
            loaded.config, "which the plain model lacks: its features come out differently there"
        )
    if as_json:
        print_json({"schema": SCHEMA, **written.to_json()})
        return
    if train:
        _show_plan(Path(written.path))
    _show_accuracy(written, loaded.network.names)
    show(written.path)


def _show_plan(folder: Path) -> None:
    """What every block's step needs, and backpropagation through all of them."""
    from goodness.export import PLAN

    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    whole = plan["backprop"]
    planned = [*plan["blocks"], *([] if "refused" in whole else [whole])]
    rows = [
        (_named(own["blocks"]), f"{own['planned_bytes']:,}", f"{own['weight_bytes']:,}")
        for own in planned
    ]
    out = console()
    columns = ("learns together", "planned bytes", "weight bytes")
    out.print(table(columns, rows, columns[1:]))
    if "refused" in whole:
        out.print(f"backprop: {whole['refused']}", soft_wrap=True)


def _named(blocks: list[str]) -> str:
    return blocks[0] if len(blocks) == 1 else f"{blocks[0]} to {blocks[-1]} (backprop)"


def _show_accuracy(written: Exported, blocks: list[str]) -> None:
    """What quantisation has cost, if there was any."""
    before, after = written.before, written.after
    if before is None or after is None:
        return
    exits = zip(blocks, before.exits or (), after.exits or (), strict=False)
    rows = [(f"exit {name}", percent(old), percent(new)) for name, old, new in exits]
    rows.append((f"{written.readout} readout", percent(before.accuracy), percent(after.accuracy)))
    out = console()
    out.print(table(("test accuracy", "float32", "int8"), rows, ("float32", "int8")))
