"""Pictures without pyplot, whose global state and window system a training run has no use for."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from goodness.files import write_whole

INK = "#333333"


def plain(name: str) -> str:
    """A name of the user's as a text to draw.

    Between two dollars matplotlib would read a formula, and bytes of a folder's name that are no
    UTF-8 it cannot draw.
    """
    return name.encode(errors="replace").decode().replace("$", r"\$")


def short(name: str, number: int, longest: int = 18) -> str:
    """A class's name in at most ``longest`` characters, to draw.

    A name that is cut bears the class's number: those of many classes often begin alike.
    """
    if len(name) <= longest:
        return plain(name)
    mark = f"#{number} "
    return mark + plain(name[: longest - len(mark) - 1]) + "\N{HORIZONTAL ELLIPSIS}"


def dress(axes: Axes, title: str) -> None:
    """A title, a grid behind the curves, and two axes of four."""
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    axes.tick_params(colors=INK, length=3)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def png(figure: Figure, dpi: int) -> bytes:
    """A figure as a PNG on white."""
    drawn = BytesIO()
    FigureCanvasAgg(figure).print_figure(drawn, dpi=dpi, format="png", facecolor="white")
    return drawn.getvalue()


def save_figure(figure: Figure, path: Path, dpi: int) -> None:
    """Draw to a PNG; who looks at ``path`` sees the old picture or the new one, never a half."""
    write_whole(path, png(figure, dpi))
