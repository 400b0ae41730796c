"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
ModelArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--model-arg", metavar="KEY=JSON", help="For the model's constructor; may be repeated."
    ),
]
Rule = Annotated[
    str,
    typer.Option(
        "--partition", metavar="NAME|N", help="layer, block, stage, or a number of blocks."
    ),
]
ImageSize = Annotated[int, typer.Option(min=1, metavar="PIXELS", help="Side of an image.")]
Channels = Annotated[int, typer.Option(min=1, help="Of an image.")]
NumClasses = Annotated[int, typer.Option(min=2, help="How many there are.")]
Steps = Annotated[int, typer.Option(min=1, help="Timed steps.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Any other value.")
]
NumThreads = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]
DEVICES = "auto, cpu, cuda, cuda:1 …"
Device = Annotated[str, typer.Option(help=DEVICES)]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for a record and a picture.")]
