from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from goodness.checksums import read_sealed, write_sealed
from goodness.config import Config
from goodness.data.preprocessing import Preprocessing
from goodness.errors import InputError, reason
from goodness.exits.records import Calibration
from goodness.files import is_taken, write_whole
from goodness.notes import note
from goodness.results import EpochRow, Result
from goodness.training import checkpoint, replacing
from goodness.training.lock import locked
from goodness.training.metrics_file import read_rows, to_line
from goodness.training.migration import SCHEMA
from goodness.training.network_folder import RUN, NetworkFolder

if TYPE_CHECKING:
    from torch import Tensor

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
        self._id: str | None = None

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
        if run._holds(run.path):
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
        # Never delete what is not a run; other programs keep a config.json as well.
        if not is_taken(run.path, "run of this version of goodness", cls._holds):
            return run
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
            # Unless it is being trained, or nobody knows.
            with suppress(InputError, OSError), locked(run.path) as held:
                if held:
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

    @property
    def id(self) -> str:
        """What tells this run's files from another's; empty where an earlier version made it.

        Raises:
            InputError: the configuration's file is damaged.
        """
        if not self.config_file.exists():
            return ""
        if self._id is None:
            content = self._read(self.config_file)
            self._id = str(content.get(RUN, "")) if isinstance(content, dict) else ""
        return self._id

    def read_config(self) -> Config:
        """The resolved configuration, whatever version of goodness made it.

        Raises:
            InputError: the file is damaged, or a newer goodness made it.
        """
        try:
            return super().read_config()
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            # Of an earlier version, without a checksum.
            raise InputError(f"'{self.config_file}' is damaged: {reason(error)}") from None

    def write_config(self, config: Config) -> None:
        """Keep the resolved configuration; a run gets its `id` with the first one."""
        self._id = self.id if self.config_file.exists() else secrets.token_hex(8)
        content = {"schema": SCHEMA, RUN: self._id, **config.model_dump(mode="json")}
        write_sealed(self.config_file, content)

    def write_result(self, result: Result) -> None:
        """Keep the end of the run."""
        write_sealed(self.result_file, result.to_json(), self.id)

    def read_preprocessing(self) -> Preprocessing:
        """How images become the network's input.

        Raises:
            InputError: no epoch has finished yet, its weights are not kept, or they are damaged.
        """
        folder = self._weights()
        meta, _ = self.load_checkpoint(folder)
        normalize = self.read_config().normalize
        try:
            return Preprocessing.model_validate({"normalize": normalize, **meta["preprocessing"]})
        except (ValidationError, TypeError):
            raise InputError(
                f"checkpoint '{folder}' is damaged: state.json has no preprocessing"
            ) from None

    def load_weights(self, network: Network) -> int:
        """Put the weights into a network, which answers by the readout that was best then.

        Returns:
            The epoch that they are of, counted from 1.

        Raises:
            InputError: as `read_preprocessing`, or the network is another one.
        """
        best = self.load_network(self._weights(), network)["best"]
        network.readout = best["readout"]
        return int(best["epoch"]) if self._epoch is None else self._epoch

    def load_checkpoint(
        self, folder: Path, *groups: str, needs: Iterable[str] = ()
    ) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
        """One of this run's checkpoints; see `goodness.training.checkpoint.load`.

        Raises:
            InputError: it is damaged or of another run; what else the run has is named.
        """
        needs = [*checkpoint.META_KEYS, *needs]
        with self._saying_what_is_whole(folder):
            meta, tensors = checkpoint.load(folder, *groups, needs=needs, run=self.id)
            if folder.parent == self.epochs:
                epoch = meta["step"] // meta["steps_per_epoch"]
                if epoch != int(folder.name):
                    raise InputError(f"checkpoint '{folder}' is of epoch {epoch}: state.json says")
        return meta, tensors

    def load_network(self, folder: Path, network: Network) -> dict[str, Any]:
        """Put one of this run's checkpoints into a network; its JSON.

        Raises:
            InputError: as `load_checkpoint`, or the network is another one.
        """
        with self._saying_what_is_whole(folder):
            return checkpoint.load_network(folder, network, self.id)

    @contextmanager
    def _saying_what_is_whole(self, folder: Path) -> Iterator[None]:
        """Inside it an error about a damaged checkpoint tells what else can be read."""
        try:
            yield
        except InputError as error:
            if checkpoint.is_whole(folder, self.id):
                raise
            raise InputError(f"{error}; {self._whole_but(folder)}") from None

    def _whole_but(self, damaged: Path) -> str:
        """Which of the run's other weights can be read, and how."""
        ways = []
        if damaged != self.best and checkpoint.is_whole(self.best, self.id):
            ways.append("the best weights (goodness predict, or --init-from for a new run)")
        kept = [self.epoch(number) for number in sorted(self._kept_epochs())]
        whole = [f for f in kept if f != damaged and checkpoint.is_whole(f, self.id)]
        if whole:
            numbers = ", ".join(str(int(folder.name)) for folder in whole)
            ways.append(f"those of epoch {numbers} (goodness.load(run, epoch=N))")
        if damaged != self.last and checkpoint.is_whole(self.last, self.id):
            ways.append(f"the last state (delete '{damaged}' and go on with --resume)")
        return f"whole are {' and '.join(ways)}" if ways else "no others are whole"

    def write_environment(self, found: Mapping[str, Any]) -> None:
        """Keep on what the run was made."""
        write_sealed(self.environment_file, found)

    def read_environment(self) -> dict[str, Any] | None:
        """On what the run was made; None where that is not kept.

        Raises:
            InputError: the file is damaged.
        """
        if not self.environment_file.is_file():
            return None
        found = read_sealed(self.environment_file, way_out="nothing else needs it: delete it")
        if not isinstance(found, dict):
            raise InputError(f"'{self.environment_file}' is damaged: no object")
        return found

    def write_exits(self, found: Calibration) -> None:
        """Keep what was calibrated."""
        write_sealed(self.exits_file, found.model_dump(mode="json", by_alias=True), self.id)

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

    def line(self, row: EpochRow) -> str:
        """A line of ``metrics.jsonl``."""
        return to_line(row, self.id)

    def append(self, row: EpochRow) -> str:
        """Add a line to ``metrics.jsonl``; the line."""
        line = self.line(row)
        with self.metrics_file.open("a") as file:
            file.write(line)
        return line

    def history(self) -> list[EpochRow]:
        """The rows of ``metrics.jsonl``, one per epoch.

        The last checkpoint keeps a copy of those before it. Where the file differs, the copy is
        taken, with a note; beyond it damaged lines alone are left out.
        """
        rows, damaged = read_rows(self.metrics_file, self.id)
        copied = self._copied_rows()
        if rows[: len(copied)] != copied:
            note(
                f"'{self.metrics_file}' is damaged or of another run: its rows are taken from"
                f" '{self.last / self.metrics_file.name}'"
            )
        elif damaged:
            lines = f"line{'s' * (len(damaged) > 1)} {', '.join(map(str, damaged))}"
            note(f"'{self.metrics_file}' is damaged or of another run: {lines}, left out")
        done = copied[-1].step if copied else 0
        return [*copied, *(row for row in rows if row.step > done)]

    def cut_history(self, until_step: int) -> list[EpochRow]:
        """Leave only the rows of ``metrics.jsonl`` up to a checkpoint's step; these rows."""
        rows = [row for row in self.history() if row.step <= until_step]
        write_whole(self.metrics_file, "".join(map(self.line, rows)).encode())
        return rows

    def _copied_rows(self) -> list[EpochRow]:
        """The rows in the last checkpoint; none of an earlier version, or where it is damaged."""
        folder = checkpoint.find(self.last)
        name = self.metrics_file.name
        if folder is None or not (folder / name).is_file():
            return []
        try:
            checkpoint.verify(self.last, name, self.id)
        except InputError:
            return []
        return read_rows(folder / name, self.id)[0]

    def _read(self, path: Path, way_out: str = "") -> Any:
        if path != self.config_file:
            return read_sealed(path, self.id, way_out)
        copies = [folder for folder in (self.last, self.best) if checkpoint.find(folder)]
        copy = f"'{copies[0]}' has a copy, under \"config\" in state.json" if copies else ""
        return read_sealed(path, way_out=copy)

    @classmethod
    def _holds(cls, path: Path) -> bool:
        """Whether there is a configuration with the keys of a run's, or one was set aside."""
        if replacing.is_unsettled(path):
            return True
        run = cls(path)
        try:
            return run.config_file.is_file() and bool(run.read_values())
        except InputError:
            return False
