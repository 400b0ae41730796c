from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from goodness.config import KEYS, Config, complete
from goodness.errors import InputError
from goodness.files import check_folder, write_json, write_whole
from goodness.results import EpochRow, Result
from goodness.training.checkpoint import find
from goodness.training.migration import SCHEMA, current_config

REQUIRED = {name for name, field in Config.model_fields.items() if field.is_required()}
"""Keys that every configuration has."""


class RunFolder:
    """The files of one run.

    ``config.json`` ``environment.json`` ``metrics.jsonl`` ``curves.png`` ``result.json``
    ``best/`` ``last/`` ``epochs/<number>/``, and what `goodness.loggers` write

    Args:
        path: the folder; see `create` and `open` for checks.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / "best"
        self.last = self.path / "last"
        self.epochs = self.path / "epochs"
        self.config_file = self.path / "config.json"
        self.environment_file = self.path / "environment.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.result_file = self.path / "result.json"

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

    def read_config(self) -> Config:
        """The resolved configuration of the run, whatever version of goodness made it.

        Raises:
            InputError: the file is damaged, or a newer goodness made it.
        """
        return complete(self._read_config())

    def write_config(self, config: Config) -> None:
        """Keep the resolved configuration."""
        write_json(self.config_file, {"schema": SCHEMA, **config.model_dump(mode="json")})

    def read_result(self) -> Result | None:
        """The content of ``result.json``; None before the run has ended."""
        if not self.result_file.is_file():
            return None
        try:
            return Result.from_json(self._read(self.result_file))
        except ValueError:
            raise InputError(f"'{self.result_file}' is damaged: values are missing") from None

    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from."""
        return find(self.last) is not None

    def best_checkpoint(self) -> Path:
        """Where the best weights are.

        Raises:
            InputError: no epoch has finished yet.
        """
        if find(self.best) is None:
            way = (
                "go on with --resume"
                if self.has_checkpoint()
                else "begin again with --overwrite --out"
            )
            raise InputError(
                f"no checkpoint in '{self.best}': no epoch has finished; {way} {self.path}"
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
        if find(self.epoch(number)) is None:
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
        """Whether there is a configuration with the keys of a run's."""
        try:
            return self.config_file.is_file() and bool(self._read_config())
        except InputError:
            return False

    def _read_config(self) -> dict[str, Any]:
        content = self._read(self.config_file)
        if not isinstance(content, dict):
            raise InputError(f"'{self.config_file}' is damaged: no configuration")
        values = current_config(content, f"'{self.config_file}'")
        if new := values.keys() - KEYS.keys():
            raise InputError(
                f"'{self.config_file}' has an unknown key, '{min(new)}': another version of"
                " goodness made it (try the newest one)"
            )
        if missing := REQUIRED - values.keys():
            raise InputError(f"'{self.config_file}' is damaged: '{min(missing)}' is missing")
        return values

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text())
        except ValueError:
            raise InputError(f"'{path}' is damaged: not valid JSON") from None


def _line(row: EpochRow) -> str:
    return json.dumps(row.to_json()) + "\n"
