"""``goodness export``: the trained model's own weights, for torchvision, timm or plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goodness.cli.output import console
from goodness.files import check_file


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A .safetensors file; default: in the run folder."),
    ] = None,
) -> None:
    """Write the weights of the model alone, by their names in torchvision or timm."""
    from safetensors.torch import save

    from goodness import api
    from goodness.files import write_whole

    loaded = api.load(run, device="cpu")
    path = loaded.folder / "model.safetensors" if out is None else out
    check_file(path)
    state = loaded.network.backbone_state()
    write_whole(path, save({key: value.contiguous().clone() for key, value in state.items()}))
    boundary = loaded.config.boundary["name"]
    if boundary != "identity":
        console().print(
            f"note: '{loaded.config.method}' puts '{boundary}' between blocks, which the plain"
            " model lacks: its features come out differently there",
            soft_wrap=True,
        )
    print(path)
