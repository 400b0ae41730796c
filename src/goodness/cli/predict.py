"""``goodness predict``: the class of single image files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goodness.cli.options import AsJson, Device
from goodness.cli.output import SCHEMA, page, percent, print_json, table


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)
    ],
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell the class of each image, and what each block would have said."""
    from goodness import api

    predictions = api.load(run, device=device).predict(images)
    if as_json:
        print_json([{"schema": SCHEMA, **prediction} for prediction in predictions])
        return
    names = [block["name"] for block in predictions[0]["blocks"]]
    shown = table("file", "class", "probability", *names, numbers=("probability",))
    for prediction in predictions:
        shown.add_row(
            str(prediction["file"]),
            prediction["class"],
            percent(prediction["probability"]),
            *(_opinion(block) for block in prediction["blocks"]),
        )
    page().print(shown)


def _opinion(block: dict[str, object]) -> str:
    """A block's own class; a dash for a block that has no scores."""
    return "–" if block["class"] is None else str(block["class"])
