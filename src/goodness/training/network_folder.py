"""What every folder with a trained network has: its configuration and its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from goodness.checksums import read_sealed
from goodness.config import KEYS, Config, complete
from goodness.errors import InputError
from goodness.exits.records import Calibration
from goodness.files import write_json
from goodness.results import Result
from goodness.training.migration import SCHEMA, current_config

REQUIRED = {name for name, field in Config.model_fields.items() if field.is_required()}
"""Keys that every configuration has."""
RUN = "run"
"""What a run's ``config.json`` says beside the configuration: which run it is."""


class NetworkFolder:
    """A folder with ``config.json``, ``result.json`` and ``exits.json``.

    Args:
        path: the folder; nothing is read yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.result_file = self.path / "result.json"
        self.exits_file = self.path / "exits.json"

    def read_config(self) -> Config:
        """The resolved configuration, whatever version of goodness made it.

        Raises:
            InputError: the file is damaged, or a newer goodness made it.
        """
        return complete(self.read_values())

    def write_config(self, config: Config) -> None:
        """Keep the resolved configuration."""
        write_json(self.config_file, {"schema": SCHEMA, **config.model_dump(mode="json")})

    def read_result(self) -> Result | None:
        """The content of ``result.json``; None before the run has ended."""
        if not self.result_file.is_file():
            return None
        try:
            return Result.from_json(self._read(self.result_file, "the network answers without it"))
        except ValueError:
            raise InputError(f"'{self.result_file}' is damaged: values are missing") from None

    def read_exits(self) -> Calibration | None:
        """The content of ``exits.json``; None where nothing was calibrated.

        Raises:
            InputError: it is damaged.
        """
        if not self.exits_file.is_file():
            return None
        way_out = f"make it again: goodness calibrate {self.path}"
        try:
            return Calibration.model_validate(self._read(self.exits_file, way_out))
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) or "all of it"
            raise InputError(
                f"'{self.exits_file}' is damaged, or of another version: '{place}' ({way_out})"
            ) from None

    def read_values(self) -> dict[str, Any]:
        """What the configuration's file holds; nothing that it names is imported or made yet.

        Raises:
            InputError: it is missing, damaged, or of a newer goodness.
        """
        content = self._read(self.config_file)
        if not isinstance(content, dict):
            raise InputError(f"'{self.config_file}' is damaged: no configuration")
        try:
            values = current_config(content, f"'{self.config_file}'")
        except (AttributeError, TypeError):
            raise InputError(f"'{self.config_file}' is damaged: values of wrong types") from None
        values.pop(RUN, None)
        if new := values.keys() - KEYS.keys():
            raise InputError(
                f"'{self.config_file}' has an unknown key, '{min(new)}': another version of"
                " goodness made it (try the newest one)"
            )
        if missing := REQUIRED - values.keys():
            raise InputError(f"'{self.config_file}' is damaged: '{min(missing)}' is missing")
        return values

    def _read(self, path: Path, way_out: str = "") -> Any:
        return read_sealed(path, way_out=way_out)
