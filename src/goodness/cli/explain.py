"""``goodness explain``: what every block has seen in an image, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Annotated

import typer

from goodness.cli.options import Images, Overwrite, RunName, Values, takes
from goodness.cli.output import console
from goodness.cli.values import load_run, output_folder
from goodness.files import check_folder, check_new, file_name


@takes("max_pixels", "num_threads", "device", settings=False)
def explain(
    run: RunName,
    images: Images,
    values: Values,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the pictures go; default: RUN/explained."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw how the answer about each image forms from block to block."""
    from goodness.reports.explanation import draw_explanation

    loaded, _ = load_run(run, values())
    folder = output_folder(loaded) / "explained" if out is None else out
    check_folder(folder)
    pictures = _pictures(images, folder)
    for picture in pictures:
        check_new(picture, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    for image, picture in zip(images, pictures, strict=True):
        pixels = loaded.preprocessing.load(image, loaded.max_pixels)
        explanation = loaded.explain(pixels)
        draw_explanation(explanation, pixels, loaded.classes, picture)
        console().print(f"{image}: {loaded.classes[explanation.answer]}, {picture}", soft_wrap=True)


def _pictures(images: Sequence[Path], folder: Path) -> list[Path]:
    """Where the picture of each image goes; two images of one name, from two folders, get two."""
    taken: dict[str, None] = {}
    for image in images:
        stem = file_name(image.stem)
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        taken[next(name for name in names if name not in taken)] = None
    return [folder / f"{name}.png" for name in taken]
