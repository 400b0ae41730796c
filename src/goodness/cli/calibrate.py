"""``goodness calibrate``: probabilities that can be believed, and exits before the last block."""

from __future__ import annotations

from typing import Annotated

import typer

from goodness.cli.options import AsJson, RunName, Values, takes
from goodness.cli.output import console, print_json
from goodness.cli.values import load_run


@takes(
    *("data_root", "skip_unreadable", "max_pixels", "batch_size", "num_threads", "device"),
    settings=False,
)
def calibrate(
    run: RunName,
    values: Values,
    tolerance: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="SHARE", help="Loss of accuracy allowed for exits."),
    ] = 0.005,
    margin: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            metavar="SHARE",
            help="How far an exit's precision on a class may be below the whole network's, or above"
            " where negative; default: what saves most within the tolerance.",
        ),
    ] = None,
    support: Annotated[
        int, typer.Option(min=1, metavar="N", help="Answers that a precision needs to count.")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Calibrate a run on half of validation for early answers; writes exits.json and exits.png."""
    loaded, asked = load_run(run, values())
    from goodness.cli.show import show_exits
    from goodness.reports.exits import draw_exits

    found = loaded.calibrate(tolerance=tolerance, margin=margin, support=support, **asked)
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True))
    else:
        show_exits(found.report, found.exits)
        if found.margin is None:
            console().print(
                f"note: no exits save anything at a loss of at most {tolerance:.2%} where they are"
                " chosen (try a larger --tolerance)",
                soft_wrap=True,
            )
    picture = loaded.folder / "exits.png"
    draw_exits(found, picture, f"{loaded.config.method}, {loaded.config.data}")
    if not as_json:
        console().print(f"picture: {picture}", soft_wrap=True)
