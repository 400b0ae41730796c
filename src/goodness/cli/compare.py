"""``goodness compare``: several methods on equal terms, and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from goodness.cli.options import Values, takes
from goodness.cli.output import console, show, table
from goodness.config import KEYS, Config, with_recipe
from goodness.files import file_name
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
        float,
        typer.Option(
            min=1, metavar="SECONDS", help="Time per method and seed, validation included."
        ),
    ] = 60.0,
    protocol: Annotated[
        Literal["equal", "paper"],
        typer.Option(help="equal: one network and treatment for all; paper: each with its own."),
    ] = "equal",
    baseline: Annotated[
        bool, typer.Option(help="Train backprop too, where it is not named.")
    ] = True,
    match_parameters: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="Train backprop once more, with widths that give it as many trained parameters as"
            " METHOD has; may be repeated.",
        ),
    ] = None,
    search: Annotated[
        str,
        typer.Option(
            metavar="KEY,KEY",
            help="Search these for every method on validation, after the learning rate:"
            " weight_decay, label_smoothing.",
        ),
    ] = "",
    trial_share: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=1,
            metavar="SHARE",
            help="Part of a run's steps that each trial of the search has.",
        ),
    ] = 0.2,
    target: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="Validation accuracy to be reached, 0 to 1. Default: 95 % of the best method's.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder; a comparison in it is continued or extended."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Methods trained at the same time.")] = 1,
) -> None:
    """Train methods one after another for the same time and compare them; can be continued."""
    asked = values()
    from goodness.comparison import Study, write_report
    from goodness.comparison.report import TERMINAL
    from goodness.comparison.study import Terms, methods_of

    # A recipe brings its data along.
    data = with_recipe(asked).get("data", Config.model_fields["data"].default)
    asked.pop("data", None)
    keys = tuple(key.strip() for key in search.split(",") if key.strip())
    terms = Terms(data, budget, protocol, asked.pop("data_root", None), asked, keys, trial_share)
    folder = out or Path("comparisons") / file_name(f"{Path(data).name}-{protocol}-{budget:g}s")
    named = methods_of(methods, baseline)
    study = Study.create(folder, terms, named, seeds, match_parameters or (), target)
    log = console()
    try:
        with interruptible():
            study.run(lambda line: log.print(line, soft_wrap=True), jobs)
    finally:
        report, paths = write_report(study)  # of what there is
    log.print()
    log.print(table(TERMINAL, report.terminal, TERMINAL[1:3] + TERMINAL[4:]))
    log.print(f"\n{report.headline}\nreport: {paths['html']}", soft_wrap=True)
    show(folder)
