"""``goodness report``: one page of HTML about a run or a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from goodness.cli.options import Overwrite, Values, takes
from goodness.cli.output import show
from goodness.cli.values import load_run, output_folder
from goodness.errors import InputError
from goodness.files import check_file
from goodness.sharing.locating import is_name


@takes(
    "data",
    "data_root",
    "skip_unreadable",
    "max_pixels",
    "batch_size",
    "num_threads",
    "device",
    settings=False,
)
def report(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="Of a run, a shared network (pretrained/NAME, hf:USER/NAME too) or a comparison.",
            show_default=False,
        ),
    ],
    values: Values,
    split: Annotated[
        Literal["test", "val", "train"] | None,
        typer.Option(help="The part of the data that is shown. Default: test."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page; default: FOLDER/report.html, made anew."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one page of HTML that holds everything and opens without a network."""
    from goodness.comparison.study import FILE

    asked = values()
    if not is_name(folder) and (Path(folder) / FILE).is_file():
        options = {"split": split, "out": out, "overwrite": overwrite or None}
        show(_of_comparison(Path(folder), {**asked, **options}))
        return
    if out is not None:
        check_file(out, overwrite)  # before the network is loaded
    loaded, asked = load_run(folder, asked)
    path = output_folder(loaded) / "report.html" if out is None else out
    replaces = overwrite or out is None
    show(loaded.report(path, split=split or "test", overwrite=replaces, **asked))


def _of_comparison(folder: Path, options: dict[str, Any]) -> Path:
    """Write the report of a comparison again, from what there is of it."""
    from goodness.comparison import Study, write_report

    given = [name.replace("_", "-") for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"'{folder}' holds a comparison, whose report takes no --{given[0]}")
    _, paths = write_report(Study.open(folder))
    return paths["html"]
