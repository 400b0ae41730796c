"""``goodness predict``: the class of single image files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodness.cli.options import AsJson, Images, RunName, Values, takes
from goodness.cli.output import SCHEMA, console, page, percent, print_json, table
from goodness.cli.values import load_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goodness.api import Run
    from goodness.results import EarlyPrediction, Prediction


@takes("skip_unreadable", "num_threads", "device", settings=False)
def predict(
    run: RunName,
    images: Images,
    values: Values,
    early: Annotated[
        bool,
        typer.Option(
            "--exit",
            help="Answer as early as 'goodness calibrate' allows, and say where.",
        ),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="SHARE", help="The same, once an answer has this probability."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the class of each image, by the network and by each block."""
    loaded, asked = load_run(run, values())
    found: Sequence[Prediction] | Sequence[EarlyPrediction]
    if early or threshold is not None:
        found = answers = loaded.predict_early(images, threshold=threshold, **asked)
        columns, rows = _early(answers)
    else:
        found = predictions = loaded.predict(images, **asked)
        columns, rows = _by_block(loaded, predictions)
    if left_out := len(images) - len(found):
        console().print(f"note: {left_out} files cannot be read and are left out")
    if as_json:
        print_json([{"schema": SCHEMA, **prediction.to_json()} for prediction in found])
    else:
        page().print(table(columns, rows, ("probability",)))


def _early(found: Sequence[EarlyPrediction]) -> tuple[list[str], list[Any]]:
    """A table: each answer and where the image left."""
    rows = [(p.file, p.class_name, percent(p.probability), p.exit) for p in found]
    return ["file", "class", "probability", "left behind"], rows


def _by_block(loaded: Run, found: Sequence[Prediction]) -> tuple[list[str], list[Any]]:
    """A table: each answer and what the blocks say."""
    from goodness.results import shown_blocks

    shown = shown_blocks([block.objective is not None for block in loaded.network])
    rows = [
        # A dash for a block that has no scores.
        (
            p.file,
            p.class_name,
            percent(p.probability),
            *(p.blocks[i].class_name or "–" for i in shown),
        )
        for p in found
    ]
    return ["file", "class", "probability", *(loaded.network.names[i] for i in shown)], rows
