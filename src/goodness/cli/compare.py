"""``goodness compare``: several methods on equal terms, and a report."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from goodness.cli.options import DEVICES
from goodness.cli.output import console
from goodness.cli.values import gather
from goodness.training.signals import interruptible


class ProtocolName(str, Enum):
    """On which terms methods are compared."""

    EQUAL = "equal"
    PAPER = "paper"


def compare(
    methods: Annotated[
        list[str],
        typer.Argument(metavar="METHOD...", help="Names, or 'all'.", show_default=False),
    ],
    data: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="See 'goodness data'; or a folder.")
    ] = "digits",
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where named data sets are kept.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per method.")] = 1,
    budget: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Training time per method and seed.")
    ] = 60.0,
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="equal: one network and treatment for all; paper: each with its own."),
    ] = ProtocolName.EQUAL,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder; a comparison in it is continued or extended."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="A value for all methods."),
    ] = None,
    num_threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of a run.")] = None,
    device: Annotated[str | None, typer.Option(help=DEVICES)] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Methods trained at the same time.")] = 1,
) -> None:
    """Train methods one after another for the same time and compare them; can be continued."""
    values = gather(None, settings or [], {"num_threads": num_threads, "device": device})
    from goodness.comparison import Study, write_report
    from goodness.comparison.study import Terms, methods_of

    terms = Terms(
        data,
        budget,
        protocol.value,
        None if data_root is None else str(data_root),
        values,
    )
    folder = out or Path("comparisons") / f"{Path(data).name}-{protocol.value}-{budget:g}s"
    study = Study.create(folder, terms, methods_of(methods), seeds)
    log = console()
    try:
        with interruptible():
            study.run(lambda line: log.print(line, soft_wrap=True), jobs)
    finally:
        paths = write_report(study)  # of what there is
    log.print(f"report: {paths['html']}", soft_wrap=True)
    print(folder)
