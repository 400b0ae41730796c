from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodness.loggers.base import LOGGERS, Logger, known_as, remember, summary

if TYPE_CHECKING:
    from goodness.results import EpochRow, Result


@LOGGERS.register("wandb")
class Wandb(Logger):
    """Weights & Biases: a run named as the run folder, in $WANDB_PROJECT, else in ``goodness``.

    All of its variables hold: with ``WANDB_MODE=offline`` everything stays in ``wandb/`` in the
    run folder, for ``wandb sync``. A resumed run has the same id there.
    """

    package = "wandb"

    def __init__(self) -> None:
        super().__init__()
        self.failures = (self.module.Error,)

    def begin(self, folder: Path, config: Mapping[str, Any], history: Sequence[EpochRow]) -> None:
        """Open the run, with the configuration as its own."""
        name = known_as(folder, "wandb")
        if name is None:
            remember(folder, "wandb", name := secrets.token_hex(4))
        self._run = self.module.init(
            project=os.environ.get("WANDB_PROJECT", "goodness"),
            id=name,
            name=folder.name,
            resume="allow",
            dir=str(folder),
            config=dict(config),
            allow_val_change=True,  # a resumed run may have more epochs
            settings={"console": "off"},  # what is printed is not its business
        )
        self._run.define_metric("*", step_metric="epoch")

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """One point per curve, over epochs."""
        self._run.log({"epoch": epoch, **values})

    def summarise(self, result: Result) -> None:
        """The result's numbers in the run's summary."""
        self._run.summary.update(summary(result))

    def close(self, finished: bool) -> None:
        """End the run; one that was stopped counts as failed until it goes on."""
        self._run.finish(exit_code=0 if finished else 1)
