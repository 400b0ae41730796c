from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from goodness.config import KEYS, Config, complete
from goodness.errors import InputError
from goodness.exits.records import Calibration
from goodness.files import check_folder, write_json, write_whole
from goodness.results import EpochRow, Result
from goodness.training.checkpoint import find
from goodness.training.migration import SCHEMA, current_config

REQUIRED = {name for name, field in Config.model_fields.items() if field.is_required()}
"""Keys that every configuration has."""


class RunFolder:
    """The files of one run.

    ``config.json`` ``environment.json`` ``metrics.jsonl`` ``tensorboard/`` ``curves.png``
    ``result.json`` ``exits.json`` ``best/`` ``last/``

    Args:
        path: the folder; see `create` and `open` for checks.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / "best"
        self.last = self.path / "last"
        self.config_file = self.path / "config.json"
        self.environment_file = self.path / "environment.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.result_file = self.path / "result.json"
        self.exits_file = self.path / "exits.json"

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
