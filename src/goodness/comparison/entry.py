"""What is compared: a method, or the baseline in another size; and its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodness.checksums import read_sealed, write_sealed
from goodness.errors import InputError
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


WAY_OUT = "delete it, and goodness compare makes it again, if study.json is the right one"
"""What to do without a damaged file."""


class EntryFolder:
    """``speed.json`` ``trials.json`` ``plan.json`` ``trial-<n>/`` ``seed-<n>/`` ``refused.txt``.

    Args:
        path: the folder.
        seeds: how many runs are wanted.
        study: what tells its comparison from others.
    """

    def __init__(self, path: Path, seeds: int, study: str = "") -> None:
        self.path = path
        self._owner = f"{study} {path.name}" if study else ""
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
        found: list[dict[str, Any]] = self.read(self._trials) or []
        return found

    def add_trial(self, trial: dict[str, Any]) -> None:
        """Keep what a trial gave."""
        self.write(self._trials, [*self.trials, trial])

    @property
    def plan(self) -> dict[str, Any] | None:
        """What the search has found; None before it has ended."""
        found: dict[str, Any] | None = self.read(self._plan, "run")
        return found

    def keep_plan(self, plan: dict[str, Any]) -> None:
        """Keep what the search has found."""
        self.write(self._plan, plan)

    @property
    def refused(self) -> str | None:
        """Why the entry could not be trained; None where it could."""
        if not self._refused.exists():
            return None
        return self._refused.read_text("utf-8", "replace").strip()

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

    def read(self, file: Path, key: str | None = None) -> Any:
        """The content of one of the entry's JSON files; None where there is none.

        Args:
            file: one of them.
            key: of the mapping that it holds; None: it holds a list.

        Raises:
            InputError: it is damaged, or of another comparison.
        """
        if not file.exists():
            return None
        content = read_sealed(file, self._owner, WAY_OUT)
        fits = isinstance(content, list) if key is None else isinstance(content, dict)
        if not fits or (key is not None and key not in content):
            raise InputError(f"'{file}' is damaged: it holds another file's values ({WAY_OUT})")
        return content

    def write(self, file: Path, content: Any) -> None:
        """Keep one of the entry's JSON files."""
        write_sealed(file, content, self._owner)
