from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from goodness.results import standard_error

if TYPE_CHECKING:
    from goodness.results import EpochRow, Result
    from goodness.training.trainer import Trainer


CHANCE_EPOCHS = 3


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
    """Ends the run when validation accuracy has not risen for some epochs in a row.

    As long as the learning rate is yet to fall, as with a cosine, the run goes on where accuracy
    has come to rest: the fall may bring the last points. There an epoch counts only where it is
    worse than the best by more than a standard error.

    Args:
        patience: epochs without a new best before the run ends.
        min_delta: what counts as a rise, as a fraction (0.001 is 0.1 points).
    """

    def __init__(self, patience: int = 5, min_delta: float = 0.0) -> None:
        self.patience = patience
        self.min_delta = min_delta

    def on_start(self, trainer: Trainer) -> None:
        """A run that was killed after its last epoch has nothing left to train."""
        self._look(trainer)

    def on_epoch(self, trainer: Trainer, row: EpochRow) -> None:
        """Stop where it is time."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        if self.is_due(trainer):
            trainer.stop = True

    def is_due(self, trainer: Trainer) -> bool:
        """Whether the run has come to its end.

        It looks back over the whole history, so that a resumed run stops at the same epoch.
        """
        final = trainer.learning_rate(trainer.epochs * trainer.steps_per_epoch - 1)
        images = len(trainer.dataset.val)
        best, since = -1.0, 0
        for past in trainer.history:
            accuracy, falls = past.val.accuracy, past.learning_rate > final
            if accuracy > best + self.min_delta:
                best, since = accuracy, 0
            elif falls and accuracy >= best - standard_error(best, images):
                since = 0
            else:
                since += 1
        return since >= self.patience


class ChanceWarning(Callback):
    """Warns once where validation stays at chance, although a block learns the training images."""

    def __init__(self) -> None:
        self._warned = False

    def on_epoch(self, trainer: Trainer, row: EpochRow) -> None:
        """Look at the last epochs."""
        chance = 1 / trainer.network.num_classes
        last = trainer.history[-CHANCE_EPOCHS:]
        learnt = max((block.accuracy or 0.0 for block in row.train.blocks), default=0.0)
        if (
            not self._warned
            and len(last) == CHANCE_EPOCHS
            and all(past.val.accuracy <= 1.2 * chance for past in last)
            and learnt > chance + 0.25 * (1 - chance)
        ):
            self._warned = True
            warnings.warn(
                f"validation has been at chance for {CHANCE_EPOCHS} epochs"
                f" ({row.val.accuracy:.1%}), but a block is right on {learnt:.1%} of the training"
                " images: are both parts labelled alike?",
                stacklevel=2,
            )
