"""The numbers of a run as TensorBoard events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

from goodness.training.callbacks import Callback

if TYPE_CHECKING:
    from goodness.results import EpochRow
    from goodness.training.trainer import Trainer


class TensorBoard(Callback):
    """Writes the scalars of every epoch to ``tensorboard/`` in the run folder."""

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None

    def on_start(self, trainer: Trainer) -> None:
        """Open the events; what an interrupted run wrote beyond its saved state is hidden."""
        if trainer.run is not None:
            folder = str(trainer.run.path / "tensorboard")
            self._writer = SummaryWriter(folder, purge_step=len(trainer.history) + 1)

    def on_epoch(self, trainer: Trainer, row: EpochRow) -> None:
        """One point per curve, over epochs."""
        if self._writer is None:
            return
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, row.epoch)
        self._writer.flush()

    def on_close(self, trainer: Trainer) -> None:
        """Close the events."""
        if self._writer is not None:
            self._writer.close()


def scalars(row: EpochRow) -> dict[str, float]:
    """The numbers of one line of ``metrics.jsonl`` under their TensorBoard names."""
    values = {
        "learning_rate": row.learning_rate,
        "images_per_second": row.images_per_second,
        "accuracy/val": row.val.accuracy,
    }
    for block, accuracy in zip(row.train.blocks, row.val.per_block, strict=True):
        values[f"loss/train/{block.name}"] = block.loss
        values[f"accuracy/train/{block.name}"] = block.accuracy
        values[f"accuracy/val/{block.name}"] = accuracy
    for name, accuracy in row.val.readouts.items():
        values[f"readout/val/{name}"] = accuracy
    return {name: value for name, value in values.items() if value is not None}
