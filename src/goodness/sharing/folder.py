"""The folder of a shared network: all that it takes to answer, nothing pickled, no code to run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from goodness.config import KEYS, Config, complete
from goodness.data.preprocessing import Preprocessing
from goodness.errors import InputError, reason
from goodness.files import is_taken, write_json, write_whole
from goodness.training import checkpoint
from goodness.training.network_folder import NetworkFolder

if TYPE_CHECKING:
    from goodness.network.network import Network
    from goodness.run import Run

PREPROCESSING, WEIGHTS, CARD, CURVES = (
    *("preprocessor_config.json", "model.safetensors", "README.md", "curves.png"),
)
NEEDED = ("config.json", PREPROCESSING, WEIGHTS)
"""The files without which a network cannot answer."""
FILES = (*NEEDED, "result.json", "exits.json", CARD, CURVES)
"""All that a shared network may have."""


class SharedFolder(NetworkFolder):
    """A network as others get it: ``config.json``, ``preprocessor_config.json``,
    ``model.safetensors``, ``result.json``, ``exits.json``, ``README.md`` and ``curves.png``.

    Args:
        path: the folder; see `holds`.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.preprocessing_file = self.path / PREPROCESSING
        self.weights_file = self.path / WEIGHTS

    @staticmethod
    def holds(path: Path) -> bool:
        """Whether a folder is that of a shared network."""
        return (path / PREPROCESSING).is_file()

    def read_config(self) -> Config:
        """The resolved configuration, which comes from somebody else: it may run no code.

        Raises:
            InputError: it is missing or damaged, or names files to import.
        """
        if not self.config_file.is_file():
            raise InputError(f"'{self.path}' holds no network (no config.json)")
        values = self.read_values()
        if values.get("imports"):
            raise InputError(
                f"'{self.config_file}' names Python files to import, which a shared network may"
                " not; import what it needs yourself, and empty the list 'imports'"
            )
        try:
            return complete(values)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise InputError(f"'{self.config_file}' is damaged: {reason(error)}") from None

    def read_preprocessing(self) -> Preprocessing:
        """How images become the network's input.

        Raises:
            InputError: it is damaged.
        """
        where = f"'{self.preprocessing_file}' is damaged"
        try:
            found = Preprocessing.model_validate(self._read(self.preprocessing_file))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise InputError(f"{where}: {name}: {first['msg']}") from None
        numbers = [*found.mean, *found.std]
        if (
            len(found.mean) != found.channels
            or len(found.std) != found.channels
            or not all(map(math.isfinite, numbers))
            or min(found.std) <= 0
        ):
            raise InputError(f"{where}: a mean and a deviation above 0 per channel are needed")
        return found

    def load_weights(self, network: Network) -> None:
        """Put the weights into a network that was built from the configuration.

        Nobody knows of which epoch they are.

        Raises:
            InputError: they are missing, damaged, or another network's.
        """
        try:
            state = load_file(self.weights_file)
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"'{self.weights_file}' is missing or no safetensors file ({reason(error)})"
            ) from None
        checkpoint.put(state, network, f"'{self.weights_file}'")


def check_target(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that a network must not be written to.

    Raises:
        InputError: it holds something else, or a network and ``overwrite`` is off.
    """
    if is_taken(folder, "shared network", SharedFolder.holds) and not overwrite:
        raise InputError(f"'{folder}' holds a shared network already; --overwrite replaces it")


def write(run: Run, folder: Path, name: str) -> None:
    """Write a network as others get it.

    Args:
        run: whose network.
        folder: made if it is not there; see `check_target`.
        name: what loads it again, for the card.
    """
    from goodness.sharing.card import card  # late: an optional dependency

    text = card(run, name)
    folder.mkdir(parents=True, exist_ok=True)
    shared = SharedFolder(folder)
    for left in {*FILES} - {*NEEDED}:
        # What this run does not bring would be another network's, exits above all.
        (folder / left).unlink(missing_ok=True)
    own = run.network.state_dict()
    state = {key: value.detach().cpu().contiguous() for key, value in own.items()}
    write_whole(shared.weights_file, save(state, metadata={"format": "pt"}))
    write_json(shared.preprocessing_file, run.preprocessing.model_dump(mode="json"))
    if run.result is not None:
        data = Path(run.result.data).name
        write_json(shared.result_file, replace(run.result, data=data).to_json())
    if run.calibration is not None:
        found = run.calibration.model_dump(mode="json", by_alias=True)
        found["report"]["data"] = Path(found["report"]["data"]).name
        write_json(shared.exits_file, found)
    if (curves := run.folder / CURVES).is_file():
        write_whole(folder / CURVES, curves.read_bytes())
    write_whole(folder / CARD, text.encode())
    shared.write_config(portable(run))


def portable(run: Run) -> Config:
    """A run's configuration without what is of the machine it was trained on.

    Paths are left out, of the data its name alone is kept, and the readout that answers is said.
    """
    fields = Config.model_fields
    values: dict[str, Any] = run.config.model_dump()
    for name in fields:
        if KEYS[name].path or (KEYS[name].scope == "machine" and KEYS[name].resume):
            values[name] = fields[name].get_default(call_default_factory=True)
    values["data"] = Path(run.config.data).name
    values["readout"] = run.network.readout
    return Config.model_validate(values)
