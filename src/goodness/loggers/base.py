from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodness.checksums import read_sealed, write_sealed
from goodness.errors import InputError, reason
from goodness.extras import needs
from goodness.notes import note
from goodness.registry import Registry
from goodness.training.callbacks import Callback

if TYPE_CHECKING:
    from goodness.results import EpochRow, Result
    from goodness.training.trainer import Trainer

LOGGERS: Registry[type[Logger]]
FILE = "loggers.json"
"""In the run folder: what the runs are called elsewhere, by logger."""


class Logger(Callback):
    """Writes the numbers of every epoch somewhere, with the configuration and the result.

    A subclass says `begin`, `log`, `summarise` and `close`. Its package is imported when it is
    made, so that one that is missing is told of before anything is read or trained. A run that is
    resumed goes on with the same log: its last epoch is written again, because the process may
    have died between saving and logging it.

    Raises:
        InputError: its package is not installed.
    """

    package = ""
    """The package that it needs, and the extra of goodness that brings it; empty for none."""

    def __init__(self) -> None:
        self.failures: tuple[type[Exception], ...] = ()
        """What its package raises where a service does not answer."""
        self.module: Any = needs(self.package, self.package, who="log")[0] if self.package else None
        self._open = self._finished = self._warned = False

    def begin(self, folder: Path, config: Mapping[str, Any], history: Sequence[EpochRow]) -> None:
        """Open the log.

        Args:
            folder: the run folder.
            config: the resolved configuration.
            history: the epochs of a run that is resumed.
        """
        raise NotImplementedError

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Write the numbers of an epoch, counted from 1, under their names; see `scalars`."""
        raise NotImplementedError

    def summarise(self, result: Result) -> None:
        """Write the result; by default nowhere, as the run folder has it."""

    def close(self, finished: bool) -> None:
        """Let go of what is held; ``finished``: whether the run has come to its end."""

    def on_start(self, trainer: Trainer) -> None:
        """Begin, or go on."""
        if trainer.run is None:
            return
        config, history = trainer.config.model_dump(mode="json"), trainer.history
        try:
            self.begin(trainer.run.path, config, history)
        except self.failures as error:
            raise InputError(f"log: {self.package} cannot begin: {reason(error)}") from error
        except OSError as error:
            if self.failures:  # a service, whose error this may be
                raise
            self._warn(error)
            return
        self._open = True
        if history:
            self._log(history[-1])

    def on_epoch(self, trainer: Trainer, row: EpochRow) -> None:
        """One point per curve."""
        self._log(row)

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """The result, as a summary."""
        self._finished = True
        if self._open:
            with self._going_on():
                self.summarise(result)

    def on_close(self, trainer: Trainer) -> None:
        """Close, also after an error."""
        if self._open:
            self._open = False
            with self._going_on():
                self.close(self._finished)

    def _log(self, row: EpochRow) -> None:
        if self._open:
            with self._going_on():
                self.log(scalars(row), row.epoch)

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Inside it what fails at a service or on the disk does not end the training."""
        known: tuple[type[Exception], ...] = (OSError, *self.failures)
        try:
            yield
        except known as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Once: what goes on failing would be said every epoch."""
        if not self._warned:
            name = self.package or type(self).__name__.lower()
            note(f"log: {name}: {reason(error)}; the run goes on")
        self._warned = True


def scalars(row: EpochRow) -> dict[str, float]:
    """The numbers of one line of ``metrics.jsonl`` by name, without those that are not known."""
    values = {
        "learning_rate": row.learning_rate,
        "images_per_second": row.images_per_second,
        "seconds": row.seconds,
        "joules": row.joules,
        "val/accuracy": row.val.accuracy,
    }
    for block, accuracy in zip(row.train.blocks, row.val.per_block, strict=True):
        values[f"train/{block.name}/loss"] = block.loss
        values[f"train/{block.name}/accuracy"] = block.accuracy
        values[f"val/{block.name}/accuracy"] = accuracy
    for name, accuracy in row.val.readouts.items():
        values[f"val/readout/{name}"] = accuracy
    return {name: value for name, value in values.items() if value is not None}


def summary(result: Result) -> dict[str, float]:
    """The numbers of ``result.json`` by name, ``result/test/accuracy`` for example."""
    return {
        f"result/{name}": float(value)
        for name, value in flat(result.to_json(), "/")
        if isinstance(value, int | float) and name != "schema"
    }


def flat(values: Mapping[str, Any], between: str, before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values under the paths of their keys.

    >>> dict(flat({"optimizer": {"lr": 0.1}}, "."))
    {'optimizer.lr': 0.1}
    """
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, between, f"{before}{key}{between}")
        else:
            yield f"{before}{key}", value


def known_as(folder: Path, logger: str) -> str | None:
    """What a run is called by a service; None before `remember`."""
    return _names(folder).get(logger)


def remember(folder: Path, logger: str, name: str) -> None:
    """Keep what a run is called by a service, so that it is found again when it is resumed."""
    write_sealed(folder / FILE, {**_names(folder), logger: name})


def _names(folder: Path) -> dict[str, str]:
    """By logger what the run is called."""
    file = folder / FILE
    if not file.exists():
        return {}
    content = read_sealed(file, way_out="delete it, and the services begin new logs")
    if not isinstance(content, dict):
        raise InputError(f"'{file}' is damaged: no names of logs")
    return content


LOGGERS = Registry("logger", __package__)
