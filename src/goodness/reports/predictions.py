"""Predictions as CSV and JSON lines, one after another as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import TextIO

from goodness.results import SCHEMA, Prediction

FIELDS = ("file", "class", "index", "probability")


def write_csv(
    predictions: Iterable[Prediction], blocks: Sequence[str], shown: Sequence[int], file: TextIO
) -> int:
    """A line per prediction: the answer, and of some blocks the class and its probability.

    Args:
        predictions: what to write.
        blocks: the names of all blocks.
        shown: the places of those to write.
        file: where to.

    Returns:
        How many there are.
    """
    writer = csv.writer(file, lineterminator="\n")
    of_blocks = [name for i in shown for name in (blocks[i], f"{blocks[i]} probability")]
    writer.writerow([*FIELDS, *of_blocks])
    count = 0
    for count, found in enumerate(predictions, 1):  # noqa: B007
        row: list[str | int | float | None]
        row = [found.file, found.class_name, found.index, found.probability]
        for i in shown:
            row += [found.blocks[i].class_name, found.blocks[i].probability]
        writer.writerow(row)
        file.flush()
    return count


def write_jsonl(predictions: Iterable[Prediction], file: TextIO) -> int:
    """A JSON object per line; how many there are."""
    count = 0
    for count, found in enumerate(predictions, 1):  # noqa: B007
        text = json.dumps({"schema": SCHEMA, **found.to_json()}, ensure_ascii=False)
        # Bytes of a file's name that are no UTF-8 become JSON's \\udc..
        file.write(text.encode(errors="backslashreplace").decode() + "\n")
        file.flush()
    return count
