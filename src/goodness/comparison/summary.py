"""What the runs of a comparison amount to, one row per method."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from goodness.comparison.protocol import adaptations
from goodness.comparison.study import REFUSED, Study
from goodness.methods import METHODS

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
    histories: list[list[dict[str, Any]]] = field(default_factory=list)
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
    best = max((max(_validation(h)) for row in rows for h in row.histories if h), default=None)
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
    if results := [run.read_result() for run in finished]:
        row.accuracies = [result["test"]["accuracy"] for result in results]
        row.blocks = results[0]["blocks"]
        row.per_block = [result["test"]["per_block"] for result in results]
        trained = [result["train"] for result in results]
        row.seconds = statistics.mean(t["seconds"] for t in trained)
        row.epochs = statistics.mean(t["epochs"] for t in trained)
        speeds = [t["images_per_second"] for t in trained if t["images_per_second"]]
        row.images_per_second = statistics.mean(speeds) if speeds else None
        row.peak_memory_bytes = max(t["peak_memory_bytes"] for t in trained)
        counted = [t["joules"] for t in trained if t["joules"] is not None]
        row.joules = statistics.mean(counted) if counted else None
        row.parameters = results[0]["train"]["parameters"]
    return row


def _validation(history: list[dict[str, Any]]) -> list[float]:
    return [epoch["val"]["accuracy"] for epoch in history]


def _arrival(history: list[dict[str, Any]], target: float | None) -> float | None:
    if target is None:
        return None
    reached = (e["seconds"] for e in history if e["val"]["accuracy"] >= target)
    return next(reached, None)
