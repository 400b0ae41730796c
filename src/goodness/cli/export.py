"""``goodness export``: the trained model's own weights, for torchvision, timm or plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goodness.cli.options import RunName
from goodness.cli.output import show
from goodness.cli.report import note_boundary
from goodness.cli.values import output_folder
from goodness.files import check_file


def export(
    run: RunName,
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
    path = output_folder(loaded) / "model.safetensors" if out is None else out
    check_file(path)
    state = loaded.network.backbone_state()
    write_whole(path, save({key: value.contiguous().clone() for key, value in state.items()}))
    note_boundary(
        loaded.config, "which the plain model lacks: its features come out differently there"
    )
    show(path)
