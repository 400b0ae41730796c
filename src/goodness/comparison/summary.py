"""What the runs of a comparison amount to, one row per method."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from goodness.comparison.protocol import adaptations
from goodness.comparison.study import REFUSED, Study
from goodness.methods import METHODS
from goodness.results import EpochRow

TARGET = 0.95
"""Part of the best method's validation accuracy that counts as arrival."""


@dataclass
class Row:
    """One method; lists are per seed, fractions 0 to 1."""

    method: str
    title: str
    locality: str
    note: str
    refused: str | None = None
    lr: float | None = None
    accuracies: list[float] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    per_block: list[list[float | None]] = field(default_factory=list)
    histories: list[list[EpochRow]] = field(default_factory=list)
    seconds: float | None = None
    images_per_second: float | None = None
    peak_memory_bytes: float | None = None
    joules: float | None = None
    """Mean per seed, where the hardware counts them."""
    parameters: int | None = None
    epochs: float | None = None
    arrival: float | None = None
    """Seconds until validation first reached the target, mean over the seeds that reached it."""
    published: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean test accuracy."""
        return statistics.mean(self.accuracies) if self.accuracies else None

    @property
    def std(self) -> float | None:
        """Standard deviation between seeds; None for one."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


def summarise(study: Study) -> tuple[list[Row], float | None]:
    """The rows of a comparison, best first, and the target accuracy."""
    rows = [_row(study, method) for method in study.seeds]
    histories = [history for row in rows for history in row.histories]
    best = max((epoch.val.accuracy for history in histories for epoch in history), default=None)
    target = None if best is None else TARGET * best
    for row in rows:
        times = [t for history in row.histories if (t := _arrival(history, target)) is not None]
        row.arrival = statistics.mean(times) if times else None
    return sorted(rows, key=lambda row: -(row.mean or -1)), target


def caveats(rows: list[Row]) -> list[str]:
    """What must not be read into the numbers."""
    found = []
    ranked = [row for row in rows if row.accuracies]
    if any(len(row.accuracies) == 1 for row in ranked):
        found.append(
            "Methods with one seed: small differences may be luck. Repeat with --seeds 3 or more"
            " before you rank methods that are close."
        )
    for better, worse in pairwise(row for row in ranked if len(row.accuracies) > 1):
        if min(better.accuracies) <= max(worse.accuracies):
            found.append(
                f"{better.method} and {worse.method} overlap: the worst seed of the first is not"
                " better than the best of the second."
            )
    return found


def _row(study: Study, method: str) -> Row:
    entry = METHODS[method]
    folder = study.path / method
    data = Path(study.terms.data).name
    row = Row(
        method,
        entry.title,
        entry.locality.value,
        adaptations(method, study.terms.protocol),
        published=entry.published.get(data),
    )
    refused = folder / REFUSED
    if refused.exists():
        row.refused = refused.read_text().strip()
    plan = folder / "plan.json"
    if plan.exists():
        row.lr = json.loads(plan.read_text())["run"].get("lr")
    finished = [run for run in study.runs(method) if run.result_file.exists()]
    row.histories = [run.history() for run in finished]
    results = [result for run in finished if (result := run.read_result()) is not None]
    tests = [result.test for result in results if result.test is not None]
    if tests:
        row.accuracies = [test.accuracy for test in tests]
        row.per_block = [test.per_block for test in tests]
        row.blocks = results[0].blocks
        trained = [result.train for result in results]
        row.seconds = statistics.mean(t.seconds for t in trained)
        row.epochs = statistics.mean(t.epochs for t in trained)
        row.images_per_second = _mean(t.images_per_second for t in trained)
        row.peak_memory_bytes = max(t.peak_memory_bytes for t in trained)
        row.joules = _mean(t.joules for t in trained)
        row.parameters = trained[0].parameters
    return row


def _arrival(history: list[EpochRow], target: float | None) -> float | None:
    if target is None:
        return None
    reached = (row.seconds for row in history if row.val.accuracy >= target)
    return next(reached, None)


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None
