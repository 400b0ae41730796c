"""A Lightning module: the Trainer brings data, devices and logging."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from goodness.errors import InputError
from goodness.extras import needs
from goodness.learning import Learner
from goodness.network.network import Network

needs("lightning", "lightning")
import lightning  # noqa: E402


class GoodnessModule(lightning.LightningModule):
    """Trains a network of local losses with manual optimisation.

        network = goodness.localize(resnet18(), "sff", image_shape=(3, 32, 32), num_classes=10)
        lightning.Trainer(max_epochs=10).fit(GoodnessModule(network), loader)

    Precision, gradient clipping and accumulation are the network's own options (``amp``,
    ``clip_grad_norm``, ``accumulate_steps``), as the Trainer's act on an optimizer of its own.

    Args:
        network: from `goodness.localize` or `goodness.build`.
        readout: which one answers; None takes the method's first.
    """

    def __init__(self, network: Network, readout: str | None = None) -> None:
        super().__init__()
        self.network = network
        self.readout = readout
        self._learner: Learner | None = None
        self._state: dict[str, Any] | None = None
        self.automatic_optimization = False

    @property
    def learner(self) -> Learner:
        """Trains the network; made when it is first asked for, on the Trainer's device."""
        if self._learner is None:
            self._learner = Learner(self.network)
            if self._state is not None:
                self._learner.load_state_dict(self._state)
                self._state = None
        return self._learner

    @property
    def answering(self) -> Network:
        """The network that predicts: with ``ema`` the moving average of the weights."""
        return self.network if self._learner is None else self._learner.final_network

    def on_fit_start(self) -> None:
        """Training mode; and several processes, whose gradients nobody averages, are refused."""
        if self.trainer.world_size > 1:
            raise InputError(
                "devices: one process only; for several use goodness train --parallel data"
            )
        self.network.train()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One step of every block; logs ``train_loss``, the mean of their losses."""
        self.log("train_loss", self.learner.step(*batch).loss, prog_bar=True)
        # What counts as a step for Lightning is the step of an optimizer.
        loop = self.trainer.fit_loop.epoch_loop.manual_optimization
        loop.optim_step_progress.increment_completed()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs ``val_accuracy``."""
        self._log_accuracy("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs ``test_accuracy``."""
        self._log_accuracy("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Classes by number (N,), of images or of images with labels."""
        x = batch[0] if isinstance(batch, list | tuple) else batch
        return self.answering.predict(x, self.readout)

    def _log_accuracy(self, split: str, batch: tuple[Tensor, Tensor]) -> None:
        x, y = batch
        right = self.answering.predict(x, self.readout) == y
        self.log(f"{split}_accuracy", right.float().mean(), prog_bar=True, batch_size=len(y))

    def configure_optimizers(self) -> None:
        """None for Lightning: every block has its own."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the blocks' optimizers."""
        checkpoint["goodness"] = self.learner.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back."""
        # The network may still be moved to its device.
        self._learner, self._state = None, checkpoint["goodness"]
