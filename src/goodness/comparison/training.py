"""Training one entry of a comparison: its trials, which choose, and then its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from goodness import api
from goodness.comparison.entry import Entry, EntryFolder
from goodness.comparison.length import Length, Pace, corrected, fitting, trial_of
from goodness.comparison.protocol import answering, ladder
from goodness.comparison.search import climb
from goodness.comparison.widths import matching
from goodness.errors import InputError, RunError
from goodness.results import Result
from goodness.training.callbacks import Callback
from goodness.training.run_folder import RunFolder
from goodness.training.speed import measure

if TYPE_CHECKING:
    from goodness.comparison.study import Study

DIAGNOSED = 256
"""Validation images that tell which channels are dead."""


class EntryTraining:
    """Trains what is missing of one entry, in this process.

    Args:
        study: the comparison.
        entry: the entry.
        log: gets a line per run.
        callbacks: told of every step, e.g. to stop.
    """

    def __init__(
        self,
        study: Study,
        entry: Entry,
        log: Callable[[str], None],
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.study, self.entry = study, entry
        self.log, self.callbacks = log, callbacks
        self.folder: EntryFolder = study.folder(entry)

    def run(self) -> None:
        """Train it; an entry that cannot be trained is noted and left out."""
        self.folder.path.mkdir(exist_ok=True)
        try:
            self._match()
            plan = self.folder.plan or self._planned()
            self._train_seeds(plan)
            # After all of them: the largest memory of a process never falls again.
            for run in self.folder.runs:
                self._diagnose(run)
        except (InputError, RunError) as error:
            self.folder.refuse(str(error))
            self.log(f"{self.entry.name}: left out: {error}")
        else:
            self.folder.refuse(None)

    def _match(self) -> None:
        """Find the widths of an entry that has as many trained parameters as a method."""
        other = self.entry.matches
        if other is None or self.folder.widths.exists():
            return
        runs = self.study.folder(self.study.entries[other]).runs
        result = runs[0].read_result()
        if result is None or result.train.trained_parameters is None:
            raise RunError(f"'{other}', whose parameters are to be matched, has no finished run")
        images = api.load(runs[0].path, device="cpu").preprocessing
        shape = (images.channels, images.height, images.width)
        wanted = result.train.trained_parameters
        widths, found = matching(self.study.config(self.entry), wanted, shape, len(images.classes))
        self.folder.write(self.folder.widths, {"widths": widths, "wanted": wanted, "found": found})

    def _train_seeds(self, plan: dict[str, Any]) -> None:
        """Every run as long as the trials and the runs before it tell."""
        done: list[dict[str, Any]] = []
        for seed, run in enumerate(self.folder.runs):
            length = {}
            if plan["trials"]:
                pace = corrected(Pace(*plan["pace"]), done)
                length = fitting(pace, self.study.terms.budget)._asdict()
            result = self._train(run, seed=seed, **plan["run"], **length)
            assert result.test is not None
            seconds = result.train.seconds
            self._say(run, plan["run"], f"test {result.test.accuracy:.2%} in {seconds:.1f} s")
            if plan["trials"]:
                config = run.read_config()
                taken = {"steps_per_epoch": config.steps_per_epoch, "epochs": config.epochs}
                done.append({**taken, "seconds": seconds})

    def _diagnose(self, run: RunFolder) -> None:
        """Look at what every block of a run has learnt, once."""
        file = self.folder.diagnosis(run)
        if not file.exists():
            blocks = api.load(run.path).diagnose(examples=DIAGNOSED)
            self.folder.write(file, [block.to_json() for block in blocks])

    def _planned(self) -> dict[str, Any]:
        """The values of the runs and their pace; found once, then kept."""
        measured = self.folder.speed  # kept: trials of one length, whatever happens
        if not measured.exists():
            speed = measure(self.study.values(self.entry)).to_json()
            self.folder.write(measured, speed)
        speed = self.folder.read(measured, "learns")
        plan: dict[str, Any] = {"trials": [], "found": {}, "run": {}, "speed": speed}
        if speed["learns"]:  # what is solved instead of trained has no rate, nor use for time
            plan |= self._searched(Pace(speed["step"], speed["validation"]))
        self.folder.keep_plan(plan)
        return plan

    def _searched(self, pace: Pace) -> dict[str, Any]:
        """Search the rate, which readout answers, and the other keys, one after another."""
        terms = self.study.terms
        length = trial_of(fitting(pace, terms.budget), terms.trial_share)
        config = self.study.config(self.entry)
        found: dict[str, Any] = {}
        chosen = {} if config.readout == "auto" else answering(config, config.readout)
        values = self._climb("lr", chosen, length, found)
        answer = answering(config, self._trial(values, length)["readout"])
        if answer.get("readouts") != values.get("readouts"):
            # Tells how long steps take without the others.
            values = {**values, **answer}
            self._trial(values, length)
        for key in terms.search:
            values = self._climb(key, values, length, found)
        alike = [
            trial
            for trial in self.folder.trials
            if trial["values"].get("readouts") == values.get("readouts")
            and trial["seconds"] is not None
        ]
        return {
            "trials": self.folder.trials,
            "found": found,
            "run": {**values, **answer},
            "pace": corrected(pace, alike),
        }

    def _climb(
        self, key: str, values: dict[str, Any], length: Length, found: dict[str, Any]
    ) -> dict[str, Any]:
        """Search one key beside values that are settled; the values with the best one of it.

        What was tried is noted in ``found``.
        """
        rungs = ladder(key, self.study.config(self.entry), self.study.terms.protocol)
        if rungs is None:
            found[key] = {"refused": f"{key}: it has a value for every block"}
            return values
        steps, start = rungs

        def at(place: int) -> dict[str, Any]:
            # The rate begins the search; of other keys the start is what was tried before.
            return values if key != "lr" and place == start else {**values, key: steps[place]}

        def score(place: int) -> float | None:
            accuracy: float | None = self._trial(at(place), length)["val_accuracy"]
            return accuracy

        try:
            best = climb(len(steps), start, score)
        except InputError as error:
            if key == "lr":
                raise
            found[key] = {"refused": str(error)}
            return values
        if best.best is None:
            raise RunError("no learning rate that was tried gave finite losses")
        tried = {f"{steps[place]:g}": best.scores[place] for place in sorted(best.scores)}
        found[key] = {"value": steps[best.best], "at_end": best.at_end, "tried": tried}
        return at(best.best)

    def _trial(self, values: dict[str, Any], length: Length) -> dict[str, Any]:
        """A short run judged on validation; what it gave, or has given before."""
        done = self.folder.trials
        for trial in done:
            if trial["values"] == values:
                return trial
        run, error = self.folder.trial(len(done)), None
        gave: dict[str, Any] = dict.fromkeys(("val_accuracy", "readout", "seconds"))
        try:
            result = self._train(run, **values, **length._asdict(), final_test=False)
        except RunError as diverged:
            error = said = str(diverged)
        else:
            gave = {
                "val_accuracy": result.val.accuracy,
                "readout": result.val.readout,
                "seconds": result.train.seconds,
            }
            said = f"val {result.val.accuracy:.2%} in {result.train.seconds:.1f} s"
        trial = {"values": values, **length._asdict(), **gave, "error": error}
        self.folder.add_trial(trial)
        self._say(run, values, said)
        return trial

    def _train(self, run: RunFolder, **values: Any) -> Result:
        """One run, continued if it was stopped; its result."""
        if not run.result_file.exists():
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            if run.has_checkpoint():
                api.resume(run.path, callbacks=self.callbacks)
            else:
                given = self.study.values(self.entry, **values)
                api.fit(out=run.path, overwrite=True, callbacks=self.callbacks, **given)
        result = run.read_result()
        assert result is not None
        return result

    def _say(self, run: RunFolder, values: dict[str, Any], what: str) -> None:
        """A line on a run, with the values that were searched for it."""
        searched = "".join(f" {k} {v:.3g}" for k, v in values.items() if isinstance(v, float))
        self.log(f"{self.entry.name} {run.path.name}{searched}: {what}")
