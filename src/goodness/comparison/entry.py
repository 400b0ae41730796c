"""What is compared: a method, or the baseline in another size; and its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodness.files import write_json
from goodness.training.run_folder import RunFolder


@dataclass(frozen=True)
class Entry:
    """A row of a comparison.

    Args:
        method: what is trained.
        seeds: how many runs.
        matches: the method whose number of trained parameters it has, by its widths.
    """

    method: str
    seeds: int
    matches: str | None = None

    @property
    def name(self) -> str:
        """Of its row and folder."""
        return f"{self.method}-size-of-{self.matches}" if self.matches else self.method


class EntryFolder:
    """``speed.json`` ``trials.json`` ``plan.json`` ``trial-<n>/`` ``seed-<n>/`` ``refused.txt``.

    Args:
        path: the folder.
        seeds: how many runs are wanted.
    """

    def __init__(self, path: Path, seeds: int) -> None:
        self.path = path
        self.speed = path / "speed.json"
        """How fast a few steps were."""
        self.widths = path / "widths.json"
        """Of an entry that matches a method's parameters."""
        self._trials = path / "trials.json"
        self._plan = path / "plan.json"
        self._refused = path / "refused.txt"
        self.runs = [RunFolder(path / f"seed-{seed}") for seed in range(seeds)]
        """Where the runs are or will be, by seed."""

    def diagnosis(self, run: RunFolder) -> Path:
        """What `goodness.diagnose` found of a run's blocks."""
        return run.path / "diagnosis.json"

    def trial(self, number: int) -> RunFolder:
        """Where a trial is or will be."""
        return RunFolder(self.path / f"trial-{number}")

    @property
    def trials(self) -> list[dict[str, Any]]:
        """What each trial gave, in order."""
        found: list[dict[str, Any]] = read(self._trials) or []
        return found

    def add_trial(self, trial: dict[str, Any]) -> None:
        """Keep what a trial gave."""
        write_json(self._trials, [*self.trials, trial])

    @property
    def plan(self) -> dict[str, Any] | None:
        """What the search has found; None before it has ended."""
        found: dict[str, Any] | None = read(self._plan)
        return found

    def keep_plan(self, plan: dict[str, Any]) -> None:
        """Keep what the search has found."""
        write_json(self._plan, plan)

    @property
    def refused(self) -> str | None:
        """Why the entry could not be trained; None where it could."""
        return self._refused.read_text("utf-8").strip() if self._refused.exists() else None

    def refuse(self, reason: str | None) -> None:
        """Keep why the entry could not be trained; None: it could."""
        if reason is None:
            self._refused.unlink(missing_ok=True)
        else:
            self._refused.write_text(f"{reason}\n", "utf-8")

    @property
    def finished(self) -> bool:
        """Whether all runs have a result."""
        return all(run.result_file.exists() for run in self.runs)


def read(file: Path) -> Any:
    """The content of a JSON file; None where there is none."""
    return json.loads(file.read_text()) if file.exists() else None
