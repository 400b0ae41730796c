"""``goodness profile``: where a training step's time and memory go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from goodness.cli.output import SCHEMA, command_line, console, print_json, table
from goodness.cli.values import gather, model_part

MIB = 2**20


def profile(
    method: Annotated[str, typer.Option(metavar="NAME", help="See 'goodness methods'.")] = "sff",
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="See 'goodness models'.")
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=JSON", help="For the model's constructor; may be repeated."),
    ] = None,
    granularity: Annotated[
        str | None, typer.Option(metavar="NAME|N", help="layer, block, stage, or a number.")
    ] = None,
    image_size: Annotated[int, typer.Option(min=1, metavar="PIXELS", help="Side.")] = 32,
    channels: Annotated[int, typer.Option(min=1, help="Of an image.")] = 3,
    classes: Annotated[int, typer.Option(min=2, help="How many there are.")] = 10,
    batch_size: Annotated[int, typer.Option(min=4, help="Images of a step.")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps.")] = 10,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Any other value.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for profile.json and profile.png.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record on standard output.")
    ] = False,
) -> None:
    """Measure a training step block by block on random images: time, memory, and what-if."""
    options = {
        "method": method,
        "model": model_part(model, model_arg or []),
        "granularity": granularity,
        "batch_size": batch_size,
        "threads": threads,
        "device": device,
    }
    values = gather(None, settings or [], options)
    from goodness.config import resolve
    from goodness.engine.machine import set_machine
    from goodness.profiling.figures import draw_profile
    from goodness.profiling.profile import profile as measure
    from goodness.profiling.timing import PHASES
    from goodness.reports.environment import environment

    config = resolve(values)
    chosen = set_machine(device, threads)
    image = (channels, image_size, image_size)
    say = console()
    with say.status("building") as status:
        record = {
            "schema": SCHEMA,
            "command": command_line(),
            "environment": environment(None, chosen),
            "method": config.method,
            "model": config.model,
            "image": image,
            "batch": batch_size,
            **measure(config, image, classes, chosen, steps, status.update),
        }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "profile.json").write_text(json.dumps(record, indent=1) + "\n")
        draw_profile(record, out / "profile.png")
    if as_json:
        print_json(record)
        return
    numbers = (*(f"{phase}, ms" for phase in PHASES), "activations", "MFLOPs", "parameters")
    shown = table("block", *numbers, numbers=numbers)
    for block in record["blocks"]:
        shown.add_row(
            block["name"],
            *(f"{1e3 * block['seconds'][phase]:.1f}" for phase in PHASES),
            f"{block['activations'] / MIB:,.1f} MiB",
            f"{block['flops'] / 1e6:,.1f}",
            f"{block['parameters']:,}",
        )
    say.print(shown)
    say.print(
        f"\n{batch_size / record['step_seconds']:,.1f} images/s;"
        f" {record['share_of_bound']:.0%} of a step is what its convolutions take alone;"
        f" augmentation {1e3 * record['data_seconds']:.1f} ms a batch;"
        f" peak of activations {record['memory']['activations'] / MIB:,.1f} MiB,"
        f" in all {record['memory']['total'] / MIB:,.1f} MiB\n",
        soft_wrap=True,
    )
    guess = table("what if", "images/s", "activations", numbers=("images/s", "activations"))
    for row in record["what_if"]["batches"]:
        guess.add_row(f"batch {row['batch']}", *_guessed(row))
    for row in record["what_if"]["depths"][1:]:
        guess.add_row(f"{row['times']} times as deep, {row['blocks']} blocks", *_guessed(row))
    for row in record["what_if"]["ranks"][1:]:
        guess.add_row(f"{row['ranks']} ranks", f"{row['images_per_second']:,.1f}", "–")
    say.print(guess)
    if out is not None:
        print(out)


def _guessed(row: dict[str, float]) -> tuple[str, str]:
    return f"{row['images_per_second']:,.1f}", f"{row['activations'] / MIB:,.1f} MiB"
