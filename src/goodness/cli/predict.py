"""``goodness predict``: the class of images in files, in folders, or named on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from goodness.cli.options import AsJson, RunFolder, Values, takes
from goodness.cli.output import SCHEMA, console, json_text, page, percent, table
from goodness.cli.values import load_run
from goodness.errors import InputError
from goodness.files import check_file, writing

if TYPE_CHECKING:
    from goodness.api import Run
    from goodness.results import Prediction

STANDARD_INPUT = "-"
BY_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}


@takes("skip_unreadable", "num_threads", "device", settings=False)
def predict(
    run: RunFolder,
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
    format_: Annotated[
        Literal["table", "csv", "jsonl"] | None,
        typer.Option("--format", help="Default: what the end of --out's name says, else a table."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write, e.g. answers.csv.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the class of each image, by the network and by each block."""
    if as_json and format_ is not None:
        raise InputError(f"--json and --format {format_} are two formats; choose one")
    if out is not None:
        check_file(out)
    by_name = "table" if out is None else BY_SUFFIX.get(out.suffix.lower(), "table")
    loaded, asked = load_run(run, values())
    files = _Files(images)
    found = loaded.predict_iter(files, **asked)
    with nullcontext(_standard_output()) if out is None else writing(out) as file:
        count = _write(found, "json" if as_json else format_ or by_name, loaded, file)
    if left_out := files.count - count:
        console().print(f"note: {left_out} files cannot be read and are left out")
    if out is not None:
        print(out)


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
    """Standard output, which writes the bytes of a file's name that are no UTF-8 as they are."""
    output = sys.stdout
    if hasattr(output, "reconfigure"):
        output.reconfigure(errors="surrogateescape")
    return output


def _write(found: Iterable[Prediction], kind: str, run: Run, file: TextIO) -> int:
    """Write predictions, and tell how many there are."""
    from goodness.reports.predictions import write_csv, write_jsonl
    from goodness.results import shown_blocks

    names = run.network.names
    shown = shown_blocks([block.objective is not None for block in run.network])
    if kind == "jsonl":
        return write_jsonl(found, file)
    if kind == "csv":
        return write_csv(found, names, shown, file)
    several = list(found)
    if kind == "json":
        rows = [{"schema": SCHEMA, **prediction.to_json()} for prediction in several]
        print(json_text(rows), file=file)
        return len(several)
    rows_shown = (
        # A dash for a block that has no scores.
        (
            p.file,
            p.class_name,
            percent(p.probability),
            *(p.blocks[i].class_name or "–" for i in shown),
        )
        for p in several
    )
    columns = ("file", "class", "probability", *(names[i] for i in shown))
    page(file).print(table(columns, rows_shown, ("probability",)))
    return len(several)
