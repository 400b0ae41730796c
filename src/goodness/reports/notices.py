"""What a person is told before training begins: the data, the network, and what it will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from goodness.memory import in_units, memory_line
from goodness.training.callbacks import Callback

if TYPE_CHECKING:
    from goodness.training.trainer import Trainer


class _Notice(Callback):
    """Says something.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


class SetupNotice(_Notice):
    """Says what was found and what will be done with it."""

    def on_start(self, trainer: Trainer) -> None:
        """Images, network and schedule, a line each."""
        import torch  # late: the terminal has its first line before torch is loaded

        config, data, network = trainer.config, trainer.dataset, trainer.network
        shape = "×".join(map(str, data.train.image_shape))
        parts = {"to train on": data.train, "to validate": data.val, "to test": data.test}
        counts = ", ".join(f"{len(part):,} {use}" for use, part in parts.items())
        parameters = sum(parameter.numel() for parameter in network.parameters())
        place, threads = str(network.device), torch.get_num_threads()
        if place == "cpu":
            place += f" with {threads} thread{'s' * (threads > 1)}"
        length = f"{trainer.epochs:,} epochs of {trainer.steps_per_epoch:,} steps"
        lines = {
            "data": f"{data.name}: {counts} ({shape}, {len(data.classes)} classes)",
            "network": f"{config.model['name']}: {len(network)} blocks, {parameters:,} parameters",
            "training": f"{config.method} on {place}: {length} of {config.batch_size} images",
        }
        for name, line in lines.items():
            self._say(f"{name}: {line}")


class CacheNotice(_Notice):
    """Says how large cached features will be on disk."""

    def on_start(self, trainer: Trainer) -> None:
        """Before the first of them is written."""
        if trainer.cache is not None:
            size = in_units(trainer.cache.peak_bytes(trainer.step))
            self._say(f"features on disk: up to {size} in '{trainer.cache.folder}'")


class MemoryNotice(_Notice):
    """Says how much memory the run will take."""

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step, told from a few images."""
        # Imported here: a report needs no learner.
        from goodness.profiling.estimate import step_memory

        memory = step_memory(trainer)
        step = None if memory is None else memory.of(trainer.config.batch_size)
        self._say(memory_line(trainer.dataset.memory_bytes, step))
