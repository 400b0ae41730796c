"""``goodness diagnose``: what each block of a run has learnt and is taught."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from goodness.cli.options import AsJson, RunName, Values, takes
from goodness.cli.output import SCHEMA, page, percent, print_json, table
from goodness.cli.values import load_run


@takes(
    *("data", "data_root", "skip_unreadable", "max_pixels", "num_threads", "device"),
    settings=False,
)
def diagnose(
    run: RunName,
    values: Values,
    split: Annotated[
        Literal["test", "val", "train"], typer.Option(help="Which part of the data.")
    ] = "val",
    examples: Annotated[int, typer.Option(min=2, help="Images to look at.")] = 512,
    as_json: AsJson = False,
) -> None:
    """Per block: accuracy, dead channels, effective rank of the features and of what teaches it."""
    loaded, asked = load_run(run, values())
    blocks = loaded.diagnose(split=split, examples=examples, **asked)
    if as_json:
        print_json({"schema": SCHEMA, "blocks": [block.to_json() for block in blocks]})
        return
    numbers = ("accuracy", "channels", "dead", "rank of features", "rank of signal")
    rows = [
        (
            block.name,
            percent(block.accuracy),
            str(block.channels),
            str(block.dead_channels),
            f"{block.feature_rank:.1f}",
            "–" if block.signal_rank is None else f"{block.signal_rank:.1f}",
        )
        for block in blocks
    ]
    page().print(table(("block", *numbers), rows, numbers))
