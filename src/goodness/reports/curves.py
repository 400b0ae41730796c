"""``curves.png``: loss and accuracy of every block over the epochs."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from goodness.errors import reason
from goodness.notes import note
from goodness.reports.figure import INK, dress, plain, save_figure
from goodness.results import learning_blocks, shown_blocks
from goodness.training.callbacks import Callback

if TYPE_CHECKING:
    from goodness.results import EpochRow, Result
    from goodness.training.trainer import Trainer

VALIDATION: Any = "-"
TRAINING: Any = "--"
MOST_NAMES, LONGEST_NAME = 14, 18
"""The legend has room for so many blocks, and so many letters."""
FEW_EPOCHS = 5
"""Up to so many epochs have markers, by which training and validation differ in a single one."""


class Curves(Callback):
    """Draws ``curves.png`` in the run folder anew after every epoch.

    Where an epoch takes seconds, epochs are skipped so that drawing takes a tenth of the time at
    most; the last one is always drawn.
    """

    def __init__(self) -> None:
        self._next = 0.0
        self._warned = False

    def on_epoch(self, trainer: Trainer, row: EpochRow) -> None:
        """Draw the whole history, which a resumed run brings along."""
        started = time.monotonic()
        if started >= self._next:
            self._draw(trainer)
            ended = time.monotonic()
            self._next = ended + 9 * (ended - started)

    def on_end(self, trainer: Trainer, result: Result) -> None:
        """Draw the last epoch."""
        self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if trainer.run is not None and trainer.history:
            title = f"{trainer.config.method}, {trainer.dataset.name}"
            path = trainer.run.path / "curves.png"
            try:
                draw_curves(trainer.history, path, title, trainer.best.readout)
            except OSError as error:  # the numbers are in metrics.jsonl, and training matters more
                if not self._warned:
                    note(f"'{path}' cannot be written: {reason(error)}; the run goes on")
                self._warned = True
            # A figure is a web of cycles with megabytes in it. Beside all of torch's objects the
            # collector would come by itself only after dozens of them.
            gc.collect()


def draw_curves(
    history: Sequence[EpochRow], path: Path, title: str = "", readout: str | None = None
) -> None:
    """Draw the curves of a run as a PNG, see `curves_figure`.

    Args:
        history: the lines of ``metrics.jsonl``.
        path: the file to write.
        title: above the picture.
        readout: whose accuracy is drawn; None takes the last epoch's best.
    """
    save_figure(curves_figure(history, title, readout), path, dpi=120)


def curves_figure(
    history: Sequence[EpochRow], title: str = "", readout: str | None = None
) -> Figure:
    """Loss and accuracy of every block over the epochs; the arguments are those of `draw_curves`.

    Of many blocks those are drawn that have a loss of their own.
    """
    readout = history[-1].val.readout if readout is None else readout
    names = [block.name for block in history[0].train.blocks]
    shown = shown_blocks(learning_blocks(history))
    # Perceptually ordered: the darker the colour, the nearer a block is to the image. The last
    # tenth of the map is a yellow that white paper swallows.
    shades = matplotlib.colormaps["viridis"]
    colours = {place: shades(0.9 * place / max(len(names) - 1, 1)) for place in shown}
    epochs = [row.epoch for row in history]

    # Fixed margins: a layout that measures its texts takes three times as long, every epoch.
    figure = Figure(figsize=(11, 4))
    figure.subplots_adjust(left=0.06, right=0.81, bottom=0.13, top=0.86, wspace=0.2)
    losses, accuracies = figure.subplots(1, 2)
    for place, colour in colours.items():
        trained = [row.train.blocks[place] for row in history]
        _line(losses, epochs, [block.loss for block in trained], colour, TRAINING)
        _line(accuracies, epochs, [block.accuracy for block in trained], colour, TRAINING)
        validated = [row.val.per_block[place] for row in history]
        _line(accuracies, epochs, validated, colour, VALIDATION)
    answers = [row.val.readouts.get(readout) for row in history]
    _line(accuracies, epochs, answers, "black", VALIDATION, width=2.2)

    _dress(losses, "loss")
    _dress(accuracies, "accuracy")
    accuracies.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    figure.suptitle(plain(title), x=0.06, ha="left", color=INK, fontsize=12)
    handles = [
        Line2D([], [], color=colours[place], label=_end(names[place]))
        for place in spread(shown, MOST_NAMES)
    ]
    handles.append(Line2D([], [], color="black", linewidth=2.2, label=f"{readout} readout"))
    handles += [
        Line2D([], [], color=INK, linestyle=style, label=label, **_marks(len(epochs), style))
        for style, label in ((VALIDATION, "validation"), (TRAINING, "training"))
    ]
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(0.82, 0.5),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )
    return figure


def _end(name: str) -> str:
    """A block's name as far as the legend has room; modules' names differ at their end."""
    cut = name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
    return plain(cut)


def spread(places: Sequence[int], most: int) -> list[int]:
    """At most so many of them, the first and the last one included."""
    count = min(most, len(places))
    return [places[round(i * (len(places) - 1) / max(count - 1, 1))] for i in range(count)]


def _line(
    axes: Axes,
    epochs: Sequence[int],
    values: Sequence[float | None],
    colour: Any,
    style: Any,
    width: float = 1.4,
) -> None:
    """One curve; epochs without a value leave a gap."""
    numbers = [math.nan if value is None else value for value in values]
    marks = _marks(len(epochs), style)
    axes.plot(epochs, numbers, color=colour, linestyle=style, linewidth=width, **marks)


def _marks(epochs: int, style: Any) -> dict[str, Any]:
    """Markers of few epochs, hollow ones of training."""
    if epochs > FEW_EPOCHS:
        return {}
    return {"marker": "o", "markersize": 5, "fillstyle": "none" if style == TRAINING else "full"}


def _dress(axes: Axes, what: str) -> None:
    dress(axes, what)
    axes.set_xlabel("epoch", color=INK)
    # Without the least of one tick a single epoch gets fractions around it.
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
