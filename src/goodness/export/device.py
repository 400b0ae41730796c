"""Training on the ExecuTorch runtime, block by block: the reference for a loop on a device.

It needs ``plan.json`` and the programs beside it, torch for tensors, and the ExecuTorch runtime. A
loop in C++ does the same with ``TrainingModule`` and ``SGD`` of ``executorch/extension/training``.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from goodness.errors import InputError
from goodness.export.exporting import PLAN
from goodness.extras import needs


@dataclass
class DeviceStep:
    """What a step gives, per program in network order."""

    losses: list[float | None]
    """None where blocks do not learn."""
    scores: list[Tensor]
    """Of every block with a loss (N, K), from before the update."""


class DeviceLearner:
    """Runs the programs of ``goodness export --format executorch --train``, with SGD.

    Args:
        folder: the exported folder.
        lr: learning rate.
        momentum: of SGD.
        weight_decay: of SGD, on all weights.

    Raises:
        InputError: there is no plan or not all programs, or executorch is not installed.
    """

    def __init__(
        self, folder: str | Path, *, lr: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        (self._training,) = needs("executorch", "executorch.extension.training")
        file = Path(folder) / PLAN
        if not file.is_file():
            raise InputError(f"'{folder}' holds no {PLAN} (goodness export --train writes one)")
        self.plan: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        self.batch: int = self.plan["batch"]
        """Images per step, fixed when the programs were made."""
        self._options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        self._programs = [self._load(Path(folder, own["program"])) for own in self.plan["blocks"]]
        self._optimizers: list[Any] = [None] * len(self._programs)

    def step(self, images: Tensor, y: Tensor) -> DeviceStep:
        """Learn from one batch: each block from its own loss, one after the other.

        Args:
            images: preprocessed (batch, C, H, W), float32.
            y: labels (batch,), int64.
        """
        if len(images) != self.batch or len(y) != self.batch:
            raise InputError(f"a step takes {self.batch} images (got {len(images)})")
        x, found = images.contiguous(), DeviceStep([], [])
        for place, block in enumerate(self.plan["blocks"]):
            program = self._programs[place]
            if not block["learns"]:
                x = program.model.run_method("forward", (x, y))[0]
                found.losses.append(None)
                continue
            loss, x, *scores = program.forward_backward("forward", (x, y))
            self._optimizer(place).step(program.named_gradients())
            found.losses.append(float(loss))
            found.scores += scores
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """The trained weights, copied, by their names in the network; empty before a step."""
        return {
            name: value.clone()
            for program, optimizer in zip(self._programs, self._optimizers, strict=True)
            if optimizer is not None
            for name, value in program.named_parameters().items()
        }

    def _load(self, path: Path) -> Any:
        if not path.is_file():
            raise InputError(
                f"'{path}' is missing: its export was interrupted (make it again, --overwrite)"
            )
        return _quietly(self._training._load_for_executorch_for_training, str(path))

    def _optimizer(self, place: int) -> Any:
        if self._optimizers[place] is None:
            # Parameters are known from the first forward pass on.
            parameters = self._programs[place].named_parameters()
            self._optimizers[place] = _quietly(
                self._training.get_sgd_optimizer, parameters, **self._options
            )
        return self._optimizers[place]


def _quietly(function: Any, *args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that all of its training is experimental
        return function(*args, **kwargs)
