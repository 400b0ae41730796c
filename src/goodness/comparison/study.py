"""A comparison on disk: which runs it needs, which are there, and training what is missing."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

from goodness import api
from goodness.comparison.protocol import FACTORS, Protocol, values_for
from goodness.config import KEYS, Config, located, resolve
from goodness.errors import InputError, RunError
from goodness.files import check_folder, write_json
from goodness.plugins import import_files
from goodness.results import Result
from goodness.training.callbacks import Callback
from goodness.training.run_folder import RunFolder

FILE = "study.json"
REFUSED = "refused.txt"
TRIAL_SHARE = 0.2
"""Each trial of a learning rate takes this part of a run's budget."""


@dataclass(frozen=True)
class Terms:
    """What all runs of a comparison have in common.

    Attributes:
        data: name or folder.
        budget: seconds of training, validation included, per method and seed.
        protocol: see `goodness.comparison.protocol`.
        data_root: where names are looked up.
        values: configuration values for all methods.
    """

    data: str
    budget: float
    protocol: Protocol
    data_root: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """The folder of a comparison.

    ``study.json`` ``<method>/speed.json`` ``<method>/plan.json`` ``<method>/trial-<n>/``
    ``<method>/seed-<n>/`` (run folders) ``<method>/refused.txt`` ``report.md`` ``report.html``

    Args:
        path: the folder; see `create` and `open`.
        terms: how methods are compared.
        seeds: runs per method, of all that the folder was ever asked for.
        methods: those to train now.
    """

    def __init__(
        self, path: Path, terms: Terms, seeds: Mapping[str, int], methods: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.terms = terms
        import_files(terms.values.get("imports", ()))
        self.seeds = dict(seeds)
        self.methods = tuple(methods)
        self._stopping = Event()
        self._processes: list[subprocess.Popen[str]] = []

    @classmethod
    def create(cls, path: Path, terms: Terms, methods: Sequence[str], seeds: int) -> Study:
        """A comparison to train, kept in its folder.

        Args:
            path: the folder; one that holds a comparison on the same terms is continued.
            terms: how methods are compared.
            methods: those to train now, each with seeds 0 to ``seeds - 1``.
            seeds: runs per method.

        Raises:
            InputError: the folder holds another comparison or other files or cannot be made, or a
                value is bad.
        """
        for key in terms.values:
            if key in KEYS and (how := KEYS[key].compare):
                raise InputError(f"{key}: a comparison sets it for every run ({how})")
        places = located({"data": terms.data, "data_root": terms.data_root})
        terms = replace(terms, **places, values=located(terms.values))
        wanted = json.loads(json.dumps(asdict(terms)))
        check_folder(path)
        asked: dict[str, int] = {}
        if (path / FILE).exists():
            found, asked = _read(path / FILE)
            changed = [key for key, value in asdict(found).items() if wanted[key] != value]
            if changed:
                raise InputError(
                    f"'{path}' holds a comparison with other values of {', '.join(changed)};"
                    " choose another --out"
                )
        elif path.exists() and any(path.iterdir()):
            raise InputError(f"'{path}' is not empty and holds no comparison; choose another --out")
        wider = {method: max(seeds, asked.get(method, 0)) for method in methods}
        study = cls(path, terms, {**asked, **wider}, methods)
        for method in methods:
            study.config(method)
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / FILE, {"terms": wanted, "seeds": study.seeds})
        return study

    @classmethod
    def open(cls, path: Path) -> Study:
        """The comparison that is in a folder, with no method to train; nothing is written.

        Raises:
            InputError: its file is damaged.
        """
        return cls(path, *_read(path / FILE))

    def config(self, method: str, **further: Any) -> Config:
        """The resolved configuration of a method's runs.

        Raises:
            InputError: a bad value.
        """
        terms = self.terms
        return resolve(
            {
                **values_for(method, Path(terms.data).name, terms.protocol, terms.values),
                **further,
                "method": method,
                "data": terms.data,
                "data_root": terms.data_root,
            }
        )

    def run(self, log: Callable[[str], None], jobs: int = 1) -> None:
        """Train what is missing; a method that cannot be trained is noted and left out.

        Every method gets a process of its own, so that none finds the memory of another.

        Args:
            log: gets a line per run.
            jobs: methods trained at the same time.

        Raises:
            RunError: a process ended without a word.
            InputError: every method was left out.
        """
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(self._start, m, log) for m in self.methods]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self._stop()
                raise
        reasons = [(self.path / method / REFUSED) for method in self.methods]
        if all(reason.exists() for reason in reasons):
            raise InputError(f"every method was left out: {reasons[0].read_text().strip()}")

    def _start(self, method: str, log: Callable[[str], None]) -> None:
        if self._stopping.is_set():
            return
        if self.finished(method):
            log(f"{method}: done before")
            return
        command = [sys.executable, "-m", "goodness.comparison.worker", str(self.path), method]
        # A session of its own: Ctrl-C reaches this process alone, which then stops the others.
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            self._processes.append(process)
            if self._stopping.is_set():  # `_stop` may have looked before it was there
                process.terminate()
            assert process.stdout is not None
            for line in process.stdout:
                log(line.rstrip())
        if process.returncode and not self._stopping.is_set():
            raise RunError(f"training '{method}' ended with exit code {process.returncode}")

    def runs(self, method: str) -> list[RunFolder]:
        """Where the runs of a method are or will be, by seed."""
        return [
            RunFolder(self.path / method / f"seed-{seed}") for seed in range(self.seeds[method])
        ]

    def finished(self, method: str) -> bool:
        """Whether all runs of a method have a result."""
        return all(run.result_file.exists() for run in self.runs(method))

    def _stop(self) -> None:
        """Let what is running save and end."""
        self._stopping.set()
        for process in self._processes:
            if process.poll() is None:
                process.terminate()

    def train_method(
        self, method: str, log: Callable[[str], None], callbacks: Sequence[Callback] = ()
    ) -> None:
        """Train what is missing of one method, in this process.

        Args:
            method: its name.
            log: gets a line per run.
            callbacks: told of every step, e.g. to stop.
        """
        folder = self.path / method
        folder.mkdir(exist_ok=True)
        try:
            plan = self._plan(method, log, callbacks)
            for seed, run in enumerate(self.runs(method)):
                config = self.config(method, **plan["run"], seed=seed)
                self._train(run, config, log, callbacks)
        except (InputError, RunError) as error:
            (folder / REFUSED).write_text(f"{error}\n")
            log(f"{method}: left out: {error}")
        else:
            (folder / REFUSED).unlink(missing_ok=True)

    def _plan(
        self, method: str, log: Callable[[str], None], callbacks: Sequence[Callback]
    ) -> dict[str, Any]:
        """How long to train and with which rate; found once, then kept."""
        file = self.path / method / "plan.json"
        if file.exists():
            plan: dict[str, Any] = json.loads(file.read_text())
            return plan
        measured = file.with_name("speed.json")  # kept: trials of one length, whatever happens
        if not measured.exists():
            write_json(measured, api.measure(self.config(method).model_dump()).to_json())
        speed = json.loads(measured.read_text())
        plan = {"speed": speed, "trials": [], "run": {}}
        if speed["learns"]:  # what is solved instead of trained has no rate, nor use for time
            length = _length(speed, TRIAL_SHARE * self.terms.budget)
            default = self.config(method).optimizer["lr"]
            for place, factor in enumerate(FACTORS[self.terms.protocol]):
                lr = float(f"{default * factor:.2g}")
                config = self.config(method, **length, lr=lr, final_test=False)
                accuracy = seconds = None
                run = RunFolder(file.with_name(f"trial-{place}"))
                try:
                    result = self._train(run, config, log, callbacks)
                    accuracy = result.val.accuracy
                    seconds = result.train.seconds
                except RunError as error:  # it diverged
                    log(f"{method} lr {lr:g}: {error}")
                trial = {"lr": lr, "val_accuracy": accuracy, "seconds": seconds}
                plan["trials"].append(trial)
            found = [trial for trial in plan["trials"] if trial["val_accuracy"] is not None]
            if not found:
                raise RunError("no learning rate that was tried gave finite losses")
            best = max(found, key=lambda trial: trial["val_accuracy"])
            # Half a minute tells more about the speed than the few steps measured before.
            taken = statistics.median(trial["seconds"] for trial in found)
            plan["run"] = {
                **_length(_corrected(speed, length, taken), self.terms.budget),
                "lr": best["lr"],
            }
        write_json(file, plan)
        return plan

    def _train(
        self,
        run: RunFolder,
        config: Config,
        log: Callable[[str], None],
        callbacks: Sequence[Callback],
    ) -> Result:
        """One run, continued if it was stopped; its result."""
        if not run.result_file.exists():
            if run.has_checkpoint():
                api.resume(run.path, callbacks=callbacks)
            else:
                values = config.model_dump()
                api.fit(out=run.path, overwrite=True, callbacks=callbacks, **values)
        result = run.read_result()
        assert result is not None
        split, found = ("val", result.val) if result.test is None else ("test", result.test)
        log(
            f"{config.method} {run.path.name} lr {config.optimizer['lr']:g}:"
            f" {split} {found.accuracy:.2%} in {result.train.seconds:.0f} s"
        )
        return result


def _read(file: Path) -> tuple[Terms, dict[str, int]]:
    """The terms of a comparison and its seeds per method."""
    try:
        content = json.loads(file.read_text())
        return Terms(**content["terms"]), dict(content["seeds"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"'{file}' is damaged; choose another --out") from None


def _length(speed: Mapping[str, Any], seconds: float) -> dict[str, int]:
    """Epochs that fill the time, all of the same length and none longer than the data."""
    whole = speed["steps_per_epoch"] * speed["step"] + speed["validation"]
    epochs = math.ceil(seconds / whole)
    steps = int((seconds / epochs - speed["validation"]) / speed["step"])
    return {"epochs": epochs, "steps_per_epoch": min(max(20, steps), speed["steps_per_epoch"])}


def _corrected(
    speed: Mapping[str, Any], length: Mapping[str, int], seconds: float
) -> dict[str, Any]:
    """The speed at which a run of this length takes as long as it did."""
    expected = length["epochs"] * (length["steps_per_epoch"] * speed["step"] + speed["validation"])
    ratio = seconds / expected
    return {**speed, **{key: speed[key] * ratio for key in ("step", "validation")}}


def methods_of(names: Sequence[str]) -> tuple[str, ...]:
    """The methods named; ``all`` stands for every one.

    Raises:
        InputError: an unknown name, or one named twice.
    """
    from goodness.methods import METHODS

    if list(names) == ["all"]:
        return tuple(METHODS)
    for name in names:
        METHODS[name]
        if names.count(name) > 1:
            raise InputError(f"method '{name}' is named twice")
    return tuple(names)
