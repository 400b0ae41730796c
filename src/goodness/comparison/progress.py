"""How far a comparison is: run n of m, and the time that is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from goodness.comparison.entry import Entry
    from goodness.comparison.study import Study

OVERHEAD = 1.3
"""Times as long as its training a run takes at first guess, with reading, testing and saving."""


class Work(NamedTuple):
    """Runs, trials among them, and the seconds that they train."""

    runs: int
    seconds: float


class Progress:
    """Reads from the folder what is done and what is known to come; searches may still grow.

    Args:
        study: the comparison.
        jobs: how many entries are trained at the same time.
    """

    def __init__(self, study: Study, jobs: int) -> None:
        self._study, self._jobs = study, jobs
        self._started = time.monotonic()
        self._before, _ = self._counted()

    def line(self, text: str) -> str:
        """The text behind where the comparison is."""
        done, whole = self._counted()
        trained = done.seconds - self._before.seconds
        passed = time.monotonic() - self._started
        pace = passed / trained if trained else OVERHEAD / self._jobs
        left = (whole.seconds - done.seconds) * pace
        said = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
        return f"run {done.runs} of {whole.runs}, about {said} left: {text}"

    def _counted(self) -> tuple[Work, Work]:
        """What is done, and all."""
        each = [self._of(entry) for entry in self._study.asked]
        done, whole = ([work[i] for work in each] for i in (0, 1))
        return _sum(done), _sum(whole)

    def _of(self, entry: Entry) -> tuple[Work, Work]:
        terms, folder = self._study.terms, self._study.folder(entry)
        budget, share = terms.budget, terms.trial_share
        trials = len(folder.trials)
        seeds = sum(run.result_file.exists() for run in folder.runs)
        done = Work(trials + seeds, budget * (trials * share + seeds))
        if folder.refused:
            return done, done
        # Three rates and two more values of each further key, until the search is known.
        first = 1 if terms.protocol == "paper" else 3
        expected = first + 2 * len(terms.search)
        all_trials = trials if folder.plan else max(trials, expected)
        all_seeds = len(folder.runs)
        return done, Work(all_trials + all_seeds, budget * (all_trials * share + all_seeds))


def _sum(works: list[Work]) -> Work:
    return Work(sum(work.runs for work in works), sum(work.seconds for work in works))
