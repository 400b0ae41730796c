"""``goodness evaluate``: the accuracy of a run's best state, and where it goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from goodness.cli.options import AsJson, RunName, Values, takes
from goodness.cli.output import SCHEMA, console, page, percent, print_json, table
from goodness.cli.values import load_run, output_folder
from goodness.files import file_name

if TYPE_CHECKING:
    from goodness.results import Evaluation
    from goodness.run import Run


@takes(
    *("data", "data_root", "skip_unreadable", "max_pixels"),
    *("batch_size", "num_threads", "device"),
    settings=False,
)
def evaluate(
    run: RunName,
    values: Values,
    split: Annotated[
        Literal["test", "val", "train"], typer.Option(help="Which part of the data.")
    ] = "test",
    exits: Annotated[
        bool,
        typer.Option("--exits", help="Early answers, as 'goodness calibrate' has set them."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a run's accuracy on a part of the data; draws the confusion matrix."""
    loaded, asked = load_run(run, values())
    if exits:
        _show_exits(loaded, split, asked, as_json)
        return
    from goodness.reports.confusion import draw_confusion
    from goodness.results import shown_blocks

    result = loaded.evaluate(split=split, **asked)
    # The result first: it must not be lost when the picture cannot be written.
    if as_json:
        fields = result.to_json()
        del fields["confusion"]
        print_json({"schema": SCHEMA, **fields})
    else:
        _show(result, shown_blocks([block.objective is not None for block in loaded.network]))
    # Of other data a picture of its own, beside that of the run's.
    name = Path(result.data).name
    of = "" if "data" not in asked else f"{name}-"
    picture = output_folder(loaded) / f"{file_name(f'confusion-{of}{split}')}.png"
    title = f"{name} {split}: {percent(result.accuracy)} right"
    draw_confusion(result.confusion, loaded.classes, picture, title)
    if not as_json:
        console().print(f"confusion matrix: {picture}", soft_wrap=True)


def _show_exits(loaded: Run, split: str, asked: dict[str, Any], as_json: bool) -> None:
    """The table of early exits in place of the blocks' and the confusion matrix."""
    report = loaded.evaluate_exits(split=split, **asked)
    if as_json:
        print_json({"schema": SCHEMA, **report.model_dump(mode="json")})
        return
    from goodness.cli.show import show_exits

    assert loaded.calibration is not None
    show_exits(report, loaded.calibration.exits)


def _show(result: Evaluation, shown: list[int]) -> None:
    out = page()
    rows = [(result.blocks[i], percent(result.per_block[i])) for i in shown]
    out.print(table(("block", "accuracy"), rows, ("accuracy",)))
    macro = ", ".join(
        f"{name} {percent(share)}"
        for name, share in (
            ("precision", result.precision),
            ("recall", result.recall),
            ("F1", result.f1),
        )
    )
    top5 = "" if result.top5 is None else f", top 5 {percent(result.top5)}"
    out.print(
        f"\n{result.data} {result.split}: accuracy {percent(result.accuracy)}{top5}"
        f" ({result.readout} readout, {result.examples} images, {result.seconds:.1f} s)\n"
        f"mean over the classes: {macro}",
        soft_wrap=True,
    )
