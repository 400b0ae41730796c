"""What a person sees of a run while it goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from goodness.results import shown_blocks
from goodness.training.callbacks import Callback

if TYPE_CHECKING:
    from goodness.results import EpochRow, Result, Status
    from goodness.training.trainer import Trainer

REFRESH_SECONDS = 0.5
"""Reading the numbers waits for the device, so it is done this rarely."""


class PlainProgress(Callback):
    """One line per epoch, for a log file or a pipe.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = 0.0
        self._done_before = 0

    def on_start(self, trainer: Trainer) -> None:
        """Start the clock that the time left is told from."""
        self._started = time.monotonic()
        self._done_before = len(trainer.history)

    def on_epoch(self, trainer: Trainer, row: EpochRow) -> None:
        """Print the epoch's numbers; the loss is the mean over the blocks that have one."""
        seconds = (time.monotonic() - self._started) / (row.epoch - self._done_before)
        blocks = row.train.blocks
        losses = [block.loss for block in blocks if block.loss is not None]
        # Blocks without scores have no accuracy; the last one that has is the most telling.
        accuracies = [block.accuracy for block in blocks if block.accuracy is not None]
        parts = [
            f"epoch {row.epoch}/{trainer.epochs}",
            f"loss {sum(losses) / len(losses):.4f}" if losses else "",
            f"train accuracy {accuracies[-1]:.2%}" if accuracies else "",
            f"val accuracy {row.val.accuracy:.2%} ({row.val.readout})",
            _speed(row.images_per_second),
            f"{_clock(seconds * (trainer.epochs - row.epoch))} left",
        ]
        self._console.print("  ".join(part for part in parts if part), soft_wrap=True)


class Loading(Callback):
    """Says on a terminal that it takes a while to begin, until training does.

    A context manager; no thread draws it, as processes may be forked meanwhile.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        text = "loading torch, the data and the network …"
        self._live = Live(text, console=console, auto_refresh=False, transient=True)
        self._shown = console.is_terminal

    def __enter__(self) -> Loading:
        if self._shown:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def on_start(self, trainer: Trainer) -> None:
        """Take it away."""
        self._live.stop()


class LiveProgress(Callback):
    """A bar over the steps and a table of the blocks, drawn over itself; for a terminal.

    It is a context manager, so that the terminal is in order after an error as well.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[speed]}  {task.fields[left]}"),
            console=console,
        )
        self._task = self._bar.add_task("", epoch="", speed="", left="")
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._validated: list[float | None] = []
        self._answer: tuple[str, float] | None = None
        self._shown: list[int] = []
        self._next = 0.0

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def on_start(self, trainer: Trainer) -> None:
        """Show the bar, part-filled when the run is resumed."""
        # Probes of blocks that have no loss are no progress.
        self._shown = shown_blocks([block.objective is not None for block in trainer.network])
        past = trainer.history[-1:]
        self._validated = [None] * len(trainer.block_names)
        for row in past:
            self._take(row)
        self._live.start()
        self._show(trainer, trainer.status())

    def on_step(self, trainer: Trainer) -> None:
        """Refresh, when the last time is long enough ago."""
        if time.monotonic() >= self._next:
            self._show(trainer, trainer.status())
            self._next = time.monotonic() + REFRESH_SECONDS

    def on_epoch(self, trainer: Trainer, row: EpochRow) -> None:
        """Refresh with the epoch's validation."""
        self._take(row)
        self._show(trainer, replace(trainer.status(), blocks=row.train.blocks))

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """Clear the display; the result follows."""
        self._live.stop()

    def _take(self, row: EpochRow) -> None:
        self._validated = row.val.per_block
        self._answer = row.val.readout, row.val.accuracy

    def _show(self, trainer: Trainer, status: Status) -> None:
        self._bar.update(
            self._task,
            total=trainer.epochs * trainer.steps_per_epoch,
            completed=trainer.step,
            epoch=f"{min(trainer.epoch + 1, trainer.epochs)}/{trainer.epochs}",
            speed=_speed(status.images_per_second),
            left="" if status.eta is None else f"{_clock(status.eta)} left",
        )
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("block")
        for column in ("loss", "train accuracy", "val accuracy"):
            table.add_column(column, justify="right")
        for place in self._shown:
            block, validated = status.blocks[place], self._validated[place]
            loss = "–" if block.loss is None else f"{block.loss:.4f}"
            table.add_row(block.name, loss, _percent(block.accuracy), _percent(validated))
        if self._answer is not None:
            readout, accuracy = self._answer
            table.add_row(f"answer: {readout}", "", "", _percent(accuracy), style="bold")
        self._live.update(Group(self._bar, table), refresh=True)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _speed(images_per_second: float | None) -> str:
    return "" if images_per_second is None else f"{images_per_second:,.0f} images/s"


def _clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
