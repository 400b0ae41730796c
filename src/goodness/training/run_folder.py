from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from goodness.data.preprocessing import Preprocessing
from goodness.errors import InputError
from goodness.exits.records import Calibration
from goodness.files import check_folder, is_vacant, write_json, write_whole
from goodness.notes import note
from goodness.results import EpochRow
from goodness.training import checkpoint, replacing
from goodness.training.lock import Busy, locked
from goodness.training.network_folder import NetworkFolder

if TYPE_CHECKING:
    from goodness.network.network import Network


class RunFolder(NetworkFolder):
    """The files of one run.

    ``config.json`` ``environment.json`` ``metrics.jsonl`` ``curves.png`` ``result.json``
    ``exits.json`` ``best/`` ``last/`` ``epochs/<number>/``, and what `goodness.loggers` write

    Args:
        path: the folder; see `create` and `open` for checks.
        epoch: whose weights are read, counted from 1; None: the best on validation.
    """

    def __init__(self, path: str | Path, epoch: int | None = None) -> None:
        super().__init__(path)
        self._epoch = epoch
        self.best = self.path / "best"
        self.last = self.path / "last"
        self.epochs = self.path / "epochs"
        self.environment_file = self.path / "environment.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.exits_file = self.path / "exits.json"

    @classmethod
    def create(cls, path: str | Path, overwrite: bool = False) -> RunFolder:
        """A new run folder; the run in it is set aside until this one has finished an epoch.

        Raises:
            InputError: the folder holds a run and ``overwrite`` is off, or holds other files, or
                cannot be made. A run whose configuration has other keys, as that of another
                version of goodness may, counts as other files.
        """
        run = cls.check(path, overwrite)
        run.path.mkdir(parents=True, exist_ok=True)
        if run._holds_run():
            replacing.set_aside(run.path)
        return run

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside it no other process trains this run, which also `settle` needs.

        Raises:
            Busy: another one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            self.settle()
            try:
                yield
            finally:
                self.settle()

    def settle(self) -> None:
        """Delete the run that this one replaces, or bring it back, if it is time; see `create`."""
        replacing.settle(self.path)

    @classmethod
    def check(cls, path: str | Path, overwrite: bool = False) -> RunFolder:
        """What `create` would refuse, without touching anything."""
        run = cls(path)
        check_folder(run.path)
        if is_vacant(run.path):
            return run
        # Never delete what is not a run; other programs keep a config.json as well.
        if not run._holds_run():
            raise InputError(
                f"'{run.path}' is not empty and holds no run of this version of goodness;"
                " choose another --out"
            )
        if not overwrite:
            raise InputError(
                f"'{run.path}' already holds a run: go on with --resume {run.path},"
                " or replace it with --overwrite"
            )
        replacing.check_own(run.path)
        return run

    @classmethod
    def open(cls, path: str | Path, epoch: int | None = None) -> RunFolder:
        """An existing run folder, with the weights of an epoch or the best ones.

        Raises:
            InputError: there is no run.
        """
        run = cls(path, epoch)
        if replacing.is_unsettled(run.path):
            with suppress(Busy, OSError), locked(run.path):  # unless it is being trained
                run.settle()
        if not run.config_file.is_file():
            why = "no config.json" if run.path.exists() else "there is no such folder"
            raise InputError(f"'{run.path}' holds no run ({why})")
        return run

    def answering(self) -> RunFolder:
        """This run, or as long as it has not finished an epoch the one that it replaces."""
        before = self.path / replacing.REPLACED
        if not before.is_dir() or checkpoint.find(self.best) is not None:
            return self
        note(
            f"the run in '{self.path}' has not finished an epoch; the one that it replaces answers"
        )
        return RunFolder(before, self._epoch).answering()

    def read_preprocessing(self) -> Preprocessing:
        """How images become the network's input.

        Raises:
            InputError: no epoch has finished yet, its weights are not kept, or they are damaged.
        """
        meta, _ = checkpoint.load(self._weights(), needs=checkpoint.META_KEYS)
        normalize = self.read_config().normalize
        return Preprocessing.model_validate({"normalize": normalize, **meta["preprocessing"]})

    def load_weights(self, network: Network) -> None:
        """Put the weights into a network, which answers by the readout that was best then.

        Raises:
            InputError: as `read_preprocessing`, or the network is another one.
        """
        meta = checkpoint.load_network(self._weights(), network)
        network.readout = meta["best"]["readout"]

    def weights_epoch(self) -> int:
        """The epoch that the weights are of, counted from 1.

        Raises:
            InputError: as `read_preprocessing`.
        """
        if self._epoch is not None:
            return self._epoch
        meta, _ = checkpoint.load(self._weights(), needs=checkpoint.META_KEYS)
        return int(meta["best"]["epoch"])

    def read_exits(self) -> Calibration | None:
        """The content of ``exits.json``; None where nothing was calibrated."""
        if not self.exits_file.is_file():
            return None
        try:
            return Calibration.model_validate(self._read(self.exits_file))
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) or "all of it"
            raise InputError(
                f"'{self.exits_file}' is damaged, or of another version: '{place}' (make it again:"
                f" goodness calibrate {self.path})"
            ) from None

    def write_exits(self, found: Calibration) -> None:
        """Keep what was calibrated."""
        write_json(self.exits_file, found.model_dump(mode="json", by_alias=True))

    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from."""
        return checkpoint.find(self.last) is not None

    def best_checkpoint(self) -> Path:
        """Where the best weights are.

        Raises:
            InputError: no epoch has finished yet.
        """
        if checkpoint.find(self.best) is None:
            raise InputError(
                f"no checkpoint in '{self.best}': no epoch has finished; go on with --resume"
                f" {self.path}"
            )
        return self.best

    def epoch(self, number: int) -> Path:
        """Where the weights of an epoch, counted from 1, are if they are kept."""
        return self.epochs / f"{number:04d}"

    def epoch_checkpoint(self, number: int) -> Path:
        """Where the weights of an epoch are.

        Raises:
            InputError: they are not kept.
        """
        if checkpoint.find(self.epoch(number)) is None:
            kept = ", ".join(str(each) for each in sorted(self._kept_epochs())) or "none"
            raise InputError(
                f"'{self.path}' keeps no weights of epoch {number} (kept: {kept}; --set"
                " checkpoint.keep=N keeps the last N)"
            )
        return self.epoch(number)

    def drop_epochs(self, but: range) -> None:
        """Delete the kept weights of all epochs but these."""
        for number, folders in self._kept_epochs().items():
            for folder in folders if number not in but else ():
                shutil.rmtree(folder)

    def _weights(self) -> Path:
        return self.best_checkpoint() if self._epoch is None else self.epoch_checkpoint(self._epoch)

    def _kept_epochs(self) -> dict[int, list[Path]]:
        """By epoch its folder, and what a killed process has left beside it."""
        found: dict[int, list[Path]] = {}
        for folder in self.epochs.glob("*"):
            number = folder.name.lstrip(".").partition(".")[0]
            if number.isdecimal():
                found.setdefault(int(number), []).append(folder)
        return found

    def append(self, row: EpochRow) -> None:
        """Add a line to ``metrics.jsonl``."""
        with self.metrics_file.open("a") as file:
            file.write(_line(row))

    def history(self) -> list[EpochRow]:
        """The rows of ``metrics.jsonl``, one per epoch."""
        if not self.metrics_file.exists():
            return []
        rows = []
        for line in self.metrics_file.read_text().splitlines():
            try:
                rows.append(EpochRow.from_json(json.loads(line)))
            except ValueError:  # half a line, from a killed process
                break
        return rows

    def cut_history(self, until_step: int) -> list[EpochRow]:
        """Leave only the rows of ``metrics.jsonl`` up to a checkpoint's step; these rows."""
        rows = [row for row in self.history() if row.step <= until_step]
        write_whole(self.metrics_file, "".join(map(_line, rows)).encode())
        return rows

    def _holds_run(self) -> bool:
        """Whether there is a configuration with the keys of a run's, or one was set aside."""
        if replacing.is_unsettled(self.path):
            return True
        try:
            return self.config_file.is_file() and bool(self._read_values())
        except InputError:
            return False


def _line(row: EpochRow) -> str:
    return json.dumps(row.to_json()) + "\n"
