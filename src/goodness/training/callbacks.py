from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from goodness.results import EpochRow, Result
    from goodness.training.trainer import Trainer


class Callback:
    """What can watch or steer a `Trainer`; every method does nothing by default."""

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step."""

    def on_step(self, trainer: Trainer) -> None:
        """After every step."""

    def on_epoch(self, trainer: Trainer, row: EpochRow) -> None:
        """After an epoch's validation; ``row`` is its line of ``metrics.jsonl``."""

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """After the test; ``result`` is the content of ``result.json``."""

    def on_close(self, trainer: Trainer) -> None:
        """Last of all, also after an error or an interruption: to let go of what is held."""


class EarlyStopping(Callback):
    """Ends the run when validation accuracy has not risen for some epochs.

    Args:
        patience: epochs without a new best before the run ends.
        min_delta: what counts as a rise, as a fraction (0.001 is 0.1 points).
    """

    def __init__(self, patience: int = 5, min_delta: float = 0.0) -> None:
        self.patience = patience
        self.min_delta = min_delta

    def on_epoch(self, trainer: Trainer, row: EpochRow) -> None:
        """Context back over the whole history, so that a resumed run stops at the same epoch."""
        best, since = -1.0, 0
        for past in trainer.history:
            accuracy = past.val.accuracy
            if accuracy > best + self.min_delta:
                best, since = accuracy, 0
            else:
                since += 1
        if since >= self.patience:
            trainer.stop = True
