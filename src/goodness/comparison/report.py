"""The report of a comparison: Markdown, one HTML file that holds everything, and a table."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from goodness.comparison.figures import draw
from goodness.comparison.protocol import SEARCHED
from goodness.comparison.search import EXTENSIONS
from goodness.comparison.study import Study
from goodness.comparison.summary import (
    TARGET,
    Row,
    answered,
    caveats,
    headline,
    points,
    spread,
    summarise,
)
from goodness.comparison.verdict import RULE
from goodness.files import write_json, write_whole
from goodness.methods import baseline
from goodness.reports.html import data_uri, page_bytes, templates
from goodness.results import SCHEMA as RESULT_SCHEMA

SCHEMA = RESULT_SCHEMA + 1
"""Of ``report.json``."""
PROTOCOLS = {
    "equal": "the same network, data order, augmentation, batch size, learning-rate schedule and"
    " seconds for every method; for each the learning rate is searched on validation: a third, once"
    f" and three times its own, then up to {EXTENSIONS} more until the best lies inside",
    "paper": "each method with its paper's network and values, its learning rate among them, for"
    " the same seconds",
}
TERMINAL = (
    *("method", "test %", "to baseline", "answered by"),
    *("reached", "s to target", "trained parameters", "seconds"),
)
"""Columns of the table in a terminal."""
Table = dict[str, dict[str, str]]
"""Cells by row and column."""


@dataclass
class Report:
    """What a comparison has found, in words and cells.

    Args:
        study: the comparison.
    """

    study: Study

    def __post_init__(self) -> None:
        self.rows, self.target = summarise(self.study)
        self.trained = [row for row in self.rows if row.accuracies]

    @property
    def headline(self) -> str:
        """What was found, in one sentence; empty where there is nothing to compare."""
        return headline(self.rows)

    @cached_property
    def results(self) -> Table:
        """What came out of every row."""
        against = next((row for row in self.trained if row.method == baseline()), None)
        table = {row.method: self._result_cells(row, against) for row in self.trained}
        return _without_empty(table, "joules", "joules to target", "published")

    @cached_property
    def training(self) -> Table:
        """How every row was trained."""
        table = {row.method: self._training_cells(row) for row in self.trained}
        return _without_empty(table, "dead channels", *SEARCHED)

    @cached_property
    def terminal(self) -> list[tuple[str, ...]]:
        """Rows of the table in a terminal, see `TERMINAL`."""
        lines = []
        for row in self.trained:
            cells = {**self.training[row.method], **self.results[row.method]}
            lines.append(tuple(cells.get(column, row.method) for column in TERMINAL))
        return lines

    def _result_cells(self, row: Row, against: Row | None) -> dict[str, str]:
        reached, parameters = row.arrival, _or_dash(row.trained_parameters, "{:,}")
        if against is not None and row is not against and row.trained_parameters:
            parameters += f" ({row.trained_parameters / (against.trained_parameters or 1):.2g}×)"
        return {
            "test %": spread(row),
            "seeds": str(len(row.accuracies)),
            "to baseline": ("–" if (d := row.difference) is None else f"{points(d)}, {d.word}"),
            "answered by": answered(row),
            "own scores, %": _or_dash(row.own and 100 * row.own, "{:.2f}"),
            "reached": f"{reached.seeds} of {len(row.histories)}",
            "s to target": _or_dash(reached.seconds, "{:.1f}"),
            "images to target": _or_dash(reached.images, "{:,.0f}"),
            "joules to target": _or_dash(reached.joules, "{:,.0f}"),
            "peak memory, MiB": _or_dash(
                row.peak_memory_bytes and row.peak_memory_bytes / 2**20, "{:,.0f}"
            ),
            "joules": _or_dash(row.joules, "{:,.0f}"),
            "trained parameters": parameters,
            "published": _or_dash(row.published, "{:.2f}"),
        }

    def _training_cells(self, row: Row) -> dict[str, str]:
        off = " (!)" if row.off_budget else ""
        budget = self.study.terms.budget
        searched = {key: _found(row.found.get(key), None) for key in SEARCHED}
        return {
            "seconds": _or_dash(row.seconds, "{:.1f}") + off,
            "passes": _or_dash(row.epochs, "{:g}"),
            "steps": _or_dash(row.steps, "{:,.0f}"),
            "images/s": _or_dash(row.images_per_second, "{:,.0f}"),
            "learning rate": _found(row.found.get("lr"), row.lr),
            **searched,
            "search": (
                f"{row.trials} trials, {row.trial_seconds / budget:.0%} of a run"
                if row.trials
                else "–"
            ),
            "blocks' own, %": " ".join(
                "–" if a is None else f"{100 * a:.1f}" for a in row.per_block[0]
            ),
            "dead channels": " ".join(f"{dead}/{all_}" for dead, all_ in row.dead_channels) or "–",
            "locality": row.locality,
        }

    def context(self) -> dict[str, Any]:
        """What the templates are given."""
        terms, study = self.study.terms, self.study
        counts = sorted({entry.seeds for entry in study.entries.values()})
        return {
            "title": f"{Path(terms.data).name}: {len(self.rows)} rows, {terms.protocol} terms",
            "headline": self.headline,
            "terms": f"{PROTOCOLS[terms.protocol]}. Seconds per row and seed, training and"
            f" validation: {terms.budget:g}; seeds: {' or '.join(map(str, counts))}."
            + (f" After the rate: {', '.join(terms.search)}." if terms.search else "")
            + f" A trial takes {terms.trial_share:.0%} of a run's steps, and is not part of its"
            " seconds.",
            "commands": commands(study),
            "environment": _environment(study),
            "target": None if self.target is None else f"{self.target:.2%}",
            "target_source": (
                f"{TARGET:.0%} of the best row's, mean over seeds"
                if study.target is None
                else "as asked for"
            ),
            "rule": RULE,
            "baseline": baseline(),
            "caveats": caveats(self.rows, terms.budget),
            "notes": [(row.method, row.note) for row in self.rows if row.note],
            "refused": [(row.method, row.refused) for row in self.rows if row.refused],
            "tables": [
                {"title": "What came out", "rows": self.results},
                {"title": "How it was trained", "rows": self.training},
            ],
        }

    def record(self) -> dict[str, Any]:
        """What is known of every row, without the epochs in between."""
        kept = []
        for row in self.rows:
            entry = {key: value for key, value in vars(row).items() if key != "histories"}
            entry |= {
                "arrival": vars(row.arrival),
                "difference": row.difference and vars(row.difference),
                "mean": row.mean,
                "std": row.std,
            }
            kept.append(entry)
        return {
            "schema": SCHEMA,
            "headline": self.headline,
            "target": self.target,
            "commands": commands(self.study),
            "environment": _environment(self.study),
            "methods": kept,
        }


def write_report(study: Study) -> tuple[Report, dict[str, Path]]:
    """Write ``report.json``, ``report.md``, ``report.html`` and the pictures into the folder."""
    report = Report(study)
    pictures = draw(report.rows, report.target, study.path)
    context = report.context()
    made = templates("goodness.comparison")
    paths = {name: study.path / f"report.{name}" for name in ("json", "md", "html")}
    write_json(paths["json"], {"terms": context["terms"], **report.record()})
    names = {name: path.name for name, path in pictures.items()}
    write_whole(paths["md"], page_bytes(made, "report.md.j2", {**context, "pictures": names}))
    embedded = {name: data_uri(path.read_bytes()) for name, path in pictures.items()}
    write_whole(
        paths["html"], page_bytes(made, "report.html.j2", {**context, "pictures": embedded})
    )
    return report, paths


def commands(study: Study) -> list[str]:
    """The command lines that make this comparison again, one per number of seeds."""
    terms, entries = study.terms, study.entries.values()
    common = [f"--data={terms.data}", f"--budget={terms.budget:g}", f"--protocol={terms.protocol}"]
    common += [] if terms.data_root is None else [f"--data-root={terms.data_root}"]
    common += [] if not terms.search else [f"--search={','.join(terms.search)}"]
    common += [f"--trial-share={terms.trial_share:g}"]
    common += [] if study.target is None else [f"--target={study.target:g}"]
    common += [] if baseline() in study.entries else ["--no-baseline"]
    common += [f"--set={key}={json.dumps(value)}" for key, value in terms.values.items()]
    lines = []
    for count in sorted({entry.seeds for entry in entries}):
        there = [entry for entry in entries if entry.seeds >= count]
        names = [entry.method for entry in there if entry.matches is None]
        matched = [f"--match-parameters={entry.matches}" for entry in there if entry.matches]
        words = ["goodness", "compare", *names, f"--seeds={count}", *matched, *common]
        lines.append(shlex.join(words))
    return lines


def _environment(study: Study) -> dict[str, Any]:
    """What all runs have in common, and every commit that they were made with."""
    folders = [study.folder(entry) for entry in study.entries.values()]
    kept = [run.read_environment() for folder in folders for run in folder.runs]
    found = [environment for environment in kept if environment is not None]
    if not found:
        return {}
    same = {k: v for k, v in found[0].items() if all(other.get(k) == v for other in found)}
    # Another run may have had another commit.
    commits = list(
        {json.dumps(environment["git"]): environment["git"] for environment in found}.values()
    )
    found_in_all = {**same, "git": commits[0] if len(commits) == 1 else commits}
    return {key: value for key, value in found_in_all.items() if value not in (None, [])}


def _found(found: dict[str, Any] | None, otherwise: float | None) -> str:
    """A searched value, marked where it is at the end of what was tried."""
    if found is None or "refused" in found:
        return _or_dash(otherwise, "{:.3g}")
    return f"{found['value']:.3g}" + (" (end)" if found["at_end"] else "")


def _without_empty(table: Table, *columns: str) -> Table:
    """A table without those of some columns that hold dashes alone."""
    empty = {c for c in columns if all(cells[c] == "–" for cells in table.values())}
    return {
        row: {column: cell for column, cell in cells.items() if column not in empty}
        for row, cells in table.items()
    }


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
