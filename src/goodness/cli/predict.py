"""``goodness predict``: the class of images in files, in folders, or named on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, cast

import typer

from goodness.cli.options import AsJson, Overwrite, RunName, Values, takes
from goodness.cli.output import SCHEMA, console, json_text, page, percent, show, table
from goodness.cli.streams import Escaped
from goodness.cli.values import load_run
from goodness.errors import InputError
from goodness.files import check_file, writing

if TYPE_CHECKING:
    from goodness.reports.predictions import Columns
    from goodness.results import EarlyPrediction, Prediction

STANDARD_INPUT = "-"
BY_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}


@takes("skip_unreadable", "max_pixels", "num_threads", "device", settings=False)
def predict(
    run: RunName,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, folders, patterns such as 'photos/*.jpg', or - for names on"
            " standard input, one a line or each ended by a NUL.",
            show_default=False,
        ),
    ],
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
    format_: Annotated[
        Literal["table", "csv", "jsonl"] | None,
        typer.Option("--format", help="Default: what the end of --out's name says, else a table."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write, e.g. answers.csv.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Predict the class of each image, by the network and by each block."""
    from goodness.reports.predictions import block_columns, early_columns
    from goodness.results import shown_blocks

    if as_json and format_ is not None:
        raise InputError(f"--json and --format {format_} are two formats; choose one")
    if out is not None:
        check_file(out, overwrite)
    by_name = "table" if out is None else BY_SUFFIX.get(out.suffix.lower(), "table")
    kind = "json" if as_json else format_ or by_name
    loaded, asked = load_run(run, values())
    files = _Files(images)
    with nullcontext(_standard_output()) if out is None else writing(out) as file:
        if early or threshold is not None:
            answers = loaded.predict_early_iter(files, threshold=threshold, **asked)
            columns = ["file", "class", "probability", "left behind"]
            count = _write(answers, kind, file, early_columns(), columns, _early_cells)
        else:
            names = loaded.network.names
            shown = shown_blocks([block.objective is not None for block in loaded.network])
            found = loaded.predict_iter(files, **asked)
            columns = ["file", "class", "probability", *(names[i] for i in shown)]
            of_blocks = block_columns(names, shown)
            count = _write(found, kind, file, of_blocks, columns, _block_cells(shown))
    if left_out := files.count - count:
        console().print(f"note: {left_out} files cannot be read and are left out")
    if out is not None:
        show(out)


def _early_cells(found: EarlyPrediction) -> tuple[str, ...]:
    return found.file, found.class_name, percent(found.probability), found.exit


def _block_cells(shown: Sequence[int]) -> Callable[[Prediction], tuple[str, ...]]:
    def cells(found: Prediction) -> tuple[str, ...]:
        # A dash for a block that has no scores.
        of_blocks = (found.blocks[i].class_name or "–" for i in shown)
        return found.file, found.class_name, percent(found.probability), *of_blocks

    return cells


class _Files:
    """The files that are meant, counted as they are asked for."""

    def __init__(self, images: Sequence[str]) -> None:
        self._images, self.count = images, 0

    def __iter__(self) -> Iterator[Path]:
        from goodness.data.folder import expanded

        for image in self._images:
            names = _from_standard_input() if image == STANDARD_INPUT else [image]
            for _, file in expanded(map(Path, names)):
                self.count += 1
                yield file


def _from_standard_input() -> list[str]:
    content = sys.stdin.buffer.read()
    names = content.split(b"\0" if b"\0" in content else b"\n")
    if not any(names):
        raise InputError("there are no file names on standard input")
    return [os.fsdecode(name) for name in names if name]


def _standard_output() -> TextIO:
    """Standard output; a terminal gets what it would obey escaped."""
    return cast(TextIO, Escaped(sys.stdout)) if sys.stdout.isatty() else sys.stdout


def _write(
    found: Iterable[Any],
    kind: str,
    file: TextIO,
    fields: Columns[Any],
    columns: Sequence[str],
    cells: Callable[[Any], tuple[str, ...]],
) -> int:
    """Write predictions, and tell how many there are."""
    from goodness.reports.predictions import write_csv, write_jsonl

    if kind == "jsonl":
        return write_jsonl(found, file)
    if kind == "csv":
        return write_csv(found, fields, file)
    several = list(found)
    if kind == "json":
        rows = [{"schema": SCHEMA, **prediction.to_json()} for prediction in several]
        print(json_text(rows, file), file=file)
    else:
        page(file).print(table(columns, map(cells, several), ("probability",)))
    return len(several)
