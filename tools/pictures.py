"""Draw the README's pictures: what local means, and what one sees of runs.

python tools/pictures.py idea                     # docs/idea.png, drawn
python tools/pictures.py training                 # docs/training.svg, from a run on the digits
GOODNESS_DATA=... python tools/pictures.py explain   # docs/explain.png, pretrained/mnist
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

import goodness
from glossary import INK, LEARNT, LOSS, arrow, box
from goodness.reports.explanation import draw_explanation
from goodness.reports.progress import LiveProgress
from goodness.training.trainer import Trainer

DOCS = Path(__file__).parent.parent / "docs"
GRADIENT = "#b5451b"
BLOCKS = 4
PITCH = 2.6


def chain(axes: Axes, bottom: float, local: bool) -> None:
    """A network of `BLOCKS` blocks; the gradient crosses all of them, or none."""
    for i in range(BLOCKS):
        x = 1.3 + i * PITCH
        box(axes, x, bottom, 1.7, 0.8, f"block {i + 1}", LEARNT)
        arrow(axes, (x - 0.9, bottom + 0.55), (x, bottom + 0.55))
        if local:
            box(axes, x + 0.2, bottom + 1.35, 1.3, 0.6, "loss", LOSS)
            arrow(axes, (x + 1.2, bottom + 0.8), (x + 1.2, bottom + 1.35))
            arrow(axes, (x + 0.5, bottom + 1.35), (x + 0.5, bottom + 0.8), color=GRADIENT)
        elif i:
            arrow(axes, (x, bottom + 0.25), (x - 0.9, bottom + 0.25), color=GRADIENT)
    axes.text(0.35, bottom + 0.55, "image", ha="right", va="center", color=INK, fontsize=10)
    if not local:
        x = 1.3 + BLOCKS * PITCH
        box(axes, x, bottom + 0.1, 1.3, 0.6, "loss", LOSS)
        arrow(axes, (x - 0.9, bottom + 0.55), (x, bottom + 0.55))
        arrow(axes, (x, bottom + 0.25), (x - 0.9, bottom + 0.25), color=GRADIENT)


def idea() -> None:
    """Backprop above, local blocks below."""
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-0.9, 13.4)
    axes.set_ylim(-0.5, 5.4)
    said = {
        4.85: "Backpropagation: one loss; its gradient crosses every block, which all wait and keep"
        " their activations",
        2.75: "Local learning: every block has a loss; the gradient ends at the block's input",
    }
    for y, text in said.items():
        axes.text(-0.8, y, text, fontsize=10.5, weight="bold", color=INK, va="center")
    chain(axes, 3.6, local=False)
    chain(axes, 0.2, local=True)
    axes.text(-0.8, -0.25, "→ features", fontsize=9.5, color=INK, va="center")
    axes.text(1.3, -0.25, "→ gradient", fontsize=9.5, color=GRADIENT, va="center")
    figure.savefig(DOCS / "idea.png", dpi=110)


class Snapshot(LiveProgress):
    """Keeps what stands on the terminal in the middle of a run."""

    def __init__(self, at: int) -> None:
        super().__init__(Console(file=io.StringIO(), force_terminal=True, width=76))
        self._at = at
        self.seen = Console(record=True, width=76, file=io.StringIO())

    def on_step(self, trainer: Trainer) -> None:
        """Once, half-way through an epoch."""
        super().on_step(trainer)
        if trainer.step == (2 * self._at + 1) * trainer.steps_per_epoch // 2:
            self._next = 0.0
            super().on_step(trainer)
            self.seen.print("$ goodness train")
            self.seen.print(self._live.get_renderable())


def training() -> None:
    """The live table of a run with default values."""
    snapshot = Snapshot(at=11)
    with tempfile.TemporaryDirectory() as scratch, snapshot:
        goodness.fit("digits", out=Path(scratch) / "run", callbacks=[snapshot])
    (DOCS / "training.svg").write_text(snapshot.seen.export_svg(title="goodness train"))


def explain() -> None:
    """How the answer about a test image of MNIST forms: the first that two blocks got wrong."""
    run = goodness.load("pretrained/mnist")
    images, labels = next(goodness.open_data("mnist").test.batches(2_000, "cpu"))
    right = run.network.exits(run.preprocessing(images)).argmax(2) == labels
    wrong_at_first = ~right[0] & ~right[1] & right[-1]
    pixels = images[wrong_at_first.nonzero()[0, 0]]
    draw_explanation(run.explain(pixels), pixels, run.classes, DOCS / "explain.png")


if __name__ == "__main__":
    pictures = {"idea": idea, "training": training, "explain": explain}
    for name in sys.argv[1:] or pictures:
        pictures[name]()
