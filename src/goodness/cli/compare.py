"""``goodness compare``: several methods on equal terms, and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from goodness.cli.options import Values, takes
from goodness.cli.output import console
from goodness.config import KEYS, Config
from goodness.training.signals import interruptible

SHARED = [name for name, key in KEYS.items() if key.option and not key.compare]
"""Keys that one value can be given of for all runs."""


@takes("data", "data_root", *SHARED)
def compare(
    methods: Annotated[
        list[str],
        typer.Argument(metavar="METHOD...", help="Names, or 'all'.", show_default=False),
    ],
    values: Values,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per method.")] = 1,
    budget: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Training time per method and seed.")
    ] = 60.0,
    protocol: Annotated[
        Literal["equal", "paper"],
        typer.Option(help="equal: one network and treatment for all; paper: each with its own."),
    ] = "equal",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder; a comparison in it is continued or extended."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Methods trained at the same time.")] = 1,
) -> None:
    """Train methods one after another for the same time and compare them; can be continued."""
    asked = values()
    from goodness.comparison import Study, write_report
    from goodness.comparison.study import Terms, methods_of

    data = asked.pop("data", Config.model_fields["data"].default)
    terms = Terms(data, budget, protocol, asked.pop("data_root", None), asked)
    folder = out or Path("comparisons") / f"{Path(data).name}-{protocol}-{budget:g}s"
    study = Study.create(folder, terms, methods_of(methods), seeds)
    log = console()
    try:
        with interruptible():
            study.run(lambda line: log.print(line, soft_wrap=True), jobs)
    finally:
        paths = write_report(study)  # of what there is
    log.print(f"report: {paths['html']}", soft_wrap=True)
    print(folder)
