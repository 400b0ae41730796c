"""``goodness explain``: what every block has seen in an image, as a picture."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path
from typing import Annotated

import typer

from goodness.cli.options import Images, RunName, Values, takes
from goodness.cli.output import console
from goodness.cli.values import load_run, output_folder
from goodness.files import check_folder, shortened


@takes("max_pixels", "num_threads", "device", settings=False)
def explain(
    run: RunName,
    images: Images,
    values: Values,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the pictures go; default: RUN/explained."),
    ] = None,
) -> None:
    """Draw how the answer about each image forms from block to block."""
    from goodness.reports.explanation import draw_explanation

    loaded, _ = load_run(run, values())
    folder = output_folder(loaded) / "explained" if out is None else out
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for image in images:
        pixels = loaded.preprocessing.load(image, loaded.max_pixels)
        explanation = loaded.explain(pixels)
        stem = shortened(image.stem)
        # Two images of one name, from two folders, get two pictures.
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        picture = folder / f"{name}.png"
        draw_explanation(explanation, pixels, loaded.classes, picture)
        console().print(f"{image}: {loaded.classes[explanation.answer]}, {picture}", soft_wrap=True)
