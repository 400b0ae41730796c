"""Draw docs/glossary.png: where the words of the glossary stand in a network.

python tools/glossary.py
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

PICTURE = Path(__file__).parent.parent / "docs" / "glossary.png"
INK, LINE, LEARNT, PALE, LOSS = "#222222", "#777777", "#dcebf7", "#f3f3f3", "#fbe3d6"


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, fill: str) -> None:
    """A labelled box."""
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", fc=fill, ec=LINE, lw=1
        )
    )
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=INK, fontsize=10)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], **style: str) -> None:
    """From one point to another."""
    props = {"arrowstyle": "->", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0, **style}
    axes.annotate("", end, start, arrowprops=props)


def block(axes: Axes, x: float, name: str) -> None:
    """A block with its parts."""
    axes.add_patch(
        FancyBboxPatch(
            (x, 0.55),
            3.7,
            2.75,
            boxstyle="round,pad=0,rounding_size=0.12",
            fc="none",
            ec=INK,
            lw=1.4,
        )
    )
    axes.text(x + 0.1, 3.38, name, color=INK, fontsize=10, weight="bold")
    box(axes, x + 0.2, 0.8, 1.3, 0.7, "body", LEARNT)
    box(axes, x + 2.2, 0.8, 1.3, 0.7, "boundary", PALE)
    box(axes, x + 0.2, 2.3, 1.3, 0.75, "objective", LOSS)
    arrow(axes, (x + 1.5, 1.15), (x + 2.2, 1.15))
    arrow(axes, (x + 0.75, 1.5), (x + 0.75, 2.3))
    axes.text(x + 0.82, 1.9, "features", fontsize=9, color=INK, va="center")
    axes.text(x + 1.6, 3.05, "loss", fontsize=9, color="#b5451b")
    axes.text(x + 1.9, 2.55, "scores", fontsize=9, color=INK)
    # The gradient goes back from the loss into the body, and ends there.
    arrow(axes, (x + 0.45, 2.3), (x + 0.45, 1.5), color="#b5451b", linestyle="--")
    arrow(axes, (x + 1.5, 2.6), (x + 2.9, 3.95), linestyle=":")


def main() -> None:
    """The whole picture."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-0.1, 13.2)
    axes.set_ylim(0.2, 4.85)
    axes.text(0.0, 1.15, "image", fontsize=10, va="center", color=INK)
    arrow(axes, (0.65, 1.15), (0.95, 1.15))
    box(axes, 0.95, 0.8, 1.55, 0.7, "presentation", PALE)
    arrow(axes, (2.5, 1.15), (3.2, 1.15))
    axes.text(2.6, 1.3, "rows", fontsize=9, color=INK)
    block(axes, 3.0, "block 0")
    arrow(axes, (6.5, 1.15), (7.4, 1.15))
    axes.text(6.55, 1.3, "output", fontsize=9, color=INK)
    block(axes, 7.2, "block 1")
    arrow(axes, (10.7, 1.15), (11.4, 1.15))
    axes.text(11.5, 1.15, "...", fontsize=12, va="center", color=INK)
    box(axes, 5.4, 3.95, 6.2, 0.65, "readout", LEARNT)
    arrow(axes, (11.6, 4.27), (12.1, 4.27))
    axes.text(12.15, 4.27, "class scores", fontsize=10, va="center", color=INK)
    axes.text(11.35, 2.75, "- - gradient", fontsize=9, color="#b5451b")
    axes.text(11.35, 2.4, "····  to the readout", fontsize=9, color=INK)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
