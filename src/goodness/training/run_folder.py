from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from goodness.data.preprocessing import Preprocessing
from goodness.errors import InputError
from goodness.files import check_folder, write_whole
from goodness.results import EpochRow
from goodness.training import checkpoint
from goodness.training.network_folder import NetworkFolder

if TYPE_CHECKING:
    from goodness.network.network import Network


class RunFolder(NetworkFolder):
    """The files of one run.

    ``config.json`` ``environment.json`` ``metrics.jsonl`` ``tensorboard/`` ``curves.png``
    ``result.json`` ``best/`` ``last/``

    Args:
        path: the folder; see `create` and `open` for checks.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.best = self.path / "best"
        self.last = self.path / "last"
        self.environment_file = self.path / "environment.json"
        self.metrics_file = self.path / "metrics.jsonl"

    @classmethod
    def create(cls, path: str | Path, overwrite: bool = False) -> RunFolder:
        """A new run folder.

        Raises:
            InputError: the folder holds a run and ``overwrite`` is off, or holds other files, or
                cannot be made. A run whose configuration has other keys, as that of another
                version of goodness may, counts as other files.
        """
        run = cls.check(path, overwrite)
        if run.config_file.exists():
            shutil.rmtree(run.path)
        run.path.mkdir(parents=True, exist_ok=True)
        return run

    @classmethod
    def check(cls, path: str | Path, overwrite: bool = False) -> RunFolder:
        """What `create` would refuse, without touching anything."""
        run = cls(path)
        check_folder(run.path)
        if not run.path.exists() or not any(run.path.iterdir()):
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
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run folder.

        Raises:
            InputError: there is no run.
        """
        run = cls(path)
        if not run.config_file.is_file():
            why = "no config.json" if run.path.exists() else "there is no such folder"
            raise InputError(f"'{run.path}' holds no run ({why})")
        return run

    def read_preprocessing(self) -> Preprocessing:
        """How images become the network's input.

        Raises:
            InputError: no epoch has finished yet, or the checkpoint is damaged.
        """
        meta, _ = checkpoint.load(self.best_checkpoint(), needs=checkpoint.META_KEYS)
        normalize = self.read_config().normalize
        return Preprocessing.model_validate({"normalize": normalize, **meta["preprocessing"]})

    def load_weights(self, network: Network) -> None:
        """Put the best weights into a network, which answers by the readout that was best then.

        Raises:
            InputError: as `read_preprocessing`, or the network is another one.
        """
        meta = checkpoint.load_network(self.best_checkpoint(), network)
        network.readout = meta["best"]["readout"]

    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from."""
        return checkpoint.find(self.last) is not None

    def best_checkpoint(self) -> Path:
        """Where the best weights are.

        Raises:
            InputError: no epoch has finished yet.
        """
        if checkpoint.find(self.best) is None:
            way = (
                "go on with --resume"
                if self.has_checkpoint()
                else "begin again with --overwrite --out"
            )
            raise InputError(
                f"no checkpoint in '{self.best}': no epoch has finished; {way} {self.path}"
            )
        return self.best

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
        """Whether there is a configuration with the keys of a run's."""
        try:
            return self.config_file.is_file() and bool(self._read_values())
        except InputError:
            return False


def _line(row: EpochRow) -> str:
    return json.dumps(row.to_json()) + "\n"
