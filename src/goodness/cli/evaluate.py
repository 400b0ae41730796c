"""``goodness evaluate``: the accuracy of a run's best state, and where it goes wrong."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from goodness.cli.options import AsJson, Device
from goodness.cli.output import SCHEMA, console, page, percent, print_json, table


class SplitName(str, Enum):
    """The parts of a data set."""

    TEST = "test"
    VAL = "val"
    TRAIN = "train"


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
    data: Annotated[
        str | None, typer.Option(help="Name or folder of other data; default: the run's.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Where data sets known by name are kept.")
    ] = None,
    split: Annotated[SplitName, typer.Option(help="Which part of the data.")] = SplitName.TEST,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="Images at once.", min=1)] = 256,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be read.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a run's accuracy on a part of the data and draw the confusion matrix."""
    from goodness import api
    from goodness.reports.confusion import draw_confusion

    loaded = api.load(run, device=device)
    result = loaded.evaluate(
        data,
        split=split.value,
        data_root=data_root,
        batch_size=batch_size,
        skip_unreadable=skip_unreadable,
    )
    confusion = result.pop("confusion")
    # The result first: it must not be lost when the picture cannot be written.
    if as_json:
        print_json({"schema": SCHEMA, **result})
    else:
        _show(result)
    # Of other data a picture of its own, beside that of the run's.
    name = Path(result["data"]).name
    of = "" if data is None else f"{name}-"
    picture = loaded.folder / f"confusion-{of}{split.value}.png"
    title = f"{name} {split.value}: {percent(result['accuracy'])} right"
    draw_confusion(confusion, loaded.classes, picture, title)
    if not as_json:
        console().print(f"confusion matrix: {picture}", soft_wrap=True)


def _show(result: dict[str, Any]) -> None:
    out = page()
    shown = table("block", "accuracy", numbers=("accuracy",))
    for name, accuracy in zip(result["blocks"], result["per_block"], strict=True):
        shown.add_row(name, percent(accuracy))
    out.print(shown)
    top5 = "" if result["top5"] is None else f", top 5 {percent(result['top5'])}"
    out.print(
        f"\n{result['data']} {result['split']}: accuracy {percent(result['accuracy'])}{top5}"
        f" ({result['readout']} readout, {result['examples']} images,"
        f" {result['seconds']:.1f} s)",
        soft_wrap=True,
    )
