"""``metrics.jsonl``: a line per epoch, each with a checksum."""

from __future__ import annotations

import json
from pathlib import Path

from goodness.checksums import KEY, checksum, opened
from goodness.results import EpochRow


def to_line(row: EpochRow, run: str) -> str:
    """A row as its line.

    Args:
        row: the epoch's numbers.
        run: what tells its run from others.
    """
    content = row.to_json()
    return json.dumps({**content, KEY: checksum(content, run)}) + "\n"


def read_rows(file: Path, run: str) -> tuple[list[EpochRow], list[int]]:
    """The rows of a file, and the numbers, from 1, of lines that are damaged or of another run.

    A last line without an end is what a killed process has left, and neither.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    rows: dict[int, EpochRow] = {}
    for number, line in enumerate(lines[:-1], 1):
        try:
            rows[number] = EpochRow.from_json(opened(json.loads(line), run))
        except (ValueError, RecursionError):
            continue
    damaged = [number for number in range(1, len(lines)) if number not in rows]
    return list(rows.values()), damaged
