"""Predictions as CSV and JSON lines, one after another as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TextIO, TypeVar

from goodness.results import SCHEMA, EarlyPrediction, Prediction

Found = TypeVar("Found", Prediction, EarlyPrediction)
Values = Sequence[str | int | float | None]


@dataclass(frozen=True)
class Columns(Generic[Found]):
    """The columns of a CSV file."""

    names: Sequence[str]
    values: Callable[[Found], Values]
    """Of a prediction, one for each column."""


def block_columns(blocks: Sequence[str], shown: Sequence[int]) -> Columns[Prediction]:
    """The answer, and of some blocks the class and its probability.

    Args:
        blocks: the names of all blocks.
        shown: the places of those to write.
    """

    def values(found: Prediction) -> Values:
        answer: list[str | int | float | None]
        answer = [found.file, found.class_name, found.index, found.probability]
        for i in shown:
            answer += [found.blocks[i].class_name, found.blocks[i].probability]
        return answer

    of_blocks = [name for i in shown for name in (blocks[i], f"{blocks[i]} probability")]
    return Columns(["file", "class", "index", "probability", *of_blocks], values)


def early_columns() -> Columns[EarlyPrediction]:
    """The answer, and where the image left."""

    def values(found: EarlyPrediction) -> Values:
        answer = found.file, found.class_name, found.index, found.probability
        return *answer, found.exit, found.depth

    return Columns(["file", "class", "index", "probability", "exit", "depth"], values)


def write_csv(predictions: Iterable[Found], columns: Columns[Found], file: TextIO) -> int:
    """A line per prediction; how many there are."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns.names)
    count = 0
    for count, found in enumerate(predictions, 1):  # noqa: B007
        writer.writerow(columns.values(found))
        file.flush()
    return count


def write_jsonl(predictions: Iterable[Prediction] | Iterable[EarlyPrediction], file: TextIO) -> int:
    """A JSON object per line; how many there are."""
    count = 0
    for count, found in enumerate(predictions, 1):  # noqa: B007
        text = json.dumps({"schema": SCHEMA, **found.to_json()}, ensure_ascii=False)
        # Bytes of a file's name that are no UTF-8 become JSON's \\udc..
        file.write(text.encode(errors="backslashreplace").decode() + "\n")
        file.flush()
    return count
