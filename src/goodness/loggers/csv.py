from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodness.files import write_whole
from goodness.loggers.base import LOGGERS, Logger, scalars

if TYPE_CHECKING:
    from goodness.results import EpochRow


@LOGGERS.register("csv")
class Csv(Logger):
    """A table ``metrics.csv`` in the run folder, a line per epoch.

    Every epoch writes it whole: a block that begins to learn later brings new columns. The
    configuration and the result stand beside it, in ``config.json`` and ``result.json``.
    """

    def begin(self, folder: Path, config: Mapping[str, Any], history: Sequence[EpochRow]) -> None:
        """Take up the epochs so far."""
        self._file = folder / "metrics.csv"
        self._rows = {row.epoch: scalars(row) for row in history}

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Write the table with one more line; what is not known stays empty."""
        self._rows[epoch] = dict(values)
        columns = dict.fromkeys(name for row in self._rows.values() for name in row)
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", *columns], lineterminator="\n")
        table.writeheader()
        table.writerows({"epoch": number, **row} for number, row in self._rows.items())
        write_whole(self._file, text.getvalue().encode())
