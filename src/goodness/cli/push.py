"""``goodness push``: a trained network for others, in a folder or on the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from goodness.cli.options import RunName
from goodness.cli.output import show
from goodness.errors import InputError
from goodness.files import at_home
from goodness.sharing.locating import hub_target


def push(
    run: RunName,
    target: Annotated[
        str,
        typer.Argument(
            metavar="USER/NAME|FOLDER",
            help="A repository of the Hub, or a folder: write ./A/B where that looks alike.",
            show_default=False,
        ),
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository for its owner alone.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a shared network in FOLDER.")
    ] = False,
) -> None:
    """Share a network: weights, configuration, preprocessing and a model card; prints where."""
    repo = hub_target(target)
    if repo is None and private:
        raise InputError(f"--private is for the Hub; '{target}' is a folder")
    from goodness import api

    loaded = api.load(run, device="cpu")
    if repo is not None:
        show(loaded.push_to_hub(repo, private=private))
    else:
        show(loaded.save_pretrained(at_home(target), overwrite=overwrite))
