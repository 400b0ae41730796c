"""``goodness profile``: where a training step's time and memory go."""

from __future__ import annotations

from typing import Annotated

import typer

from goodness.cli.options import (
    AsJson,
    Channels,
    Device,
    ImageSize,
    ModelArgs,
    NumClasses,
    NumThreads,
    Out,
    Settings,
    Steps,
)
from goodness.cli.output import console, keep_record, page, print_json, record_head, table
from goodness.cli.values import gather, model_part
from goodness.files import check_folder

MIB = 2**20


def profile(
    method: Annotated[str, typer.Option(metavar="NAME", help="See 'goodness methods'.")] = "sff",
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="See 'goodness models'.")
    ] = None,
    model_arg: ModelArgs = None,
    partition: Annotated[
        str | None, typer.Option(metavar="NAME|N", help="layer, block, stage, or a number.")
    ] = None,
    image_size: ImageSize = 32,
    channels: Channels = 3,
    num_classes: NumClasses = 10,
    batch_size: Annotated[int, typer.Option(min=4, help="Images of a step.")] = 128,
    steps: Steps = 10,
    settings: Settings = None,
    num_threads: NumThreads = None,
    device: Device = "auto",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure a training step block by block on random images: time, memory, and what-if."""
    options = {
        "method": method,
        "model": model_part(model, model_arg or []),
        "partition": partition,
        "batch_size": batch_size,
        "num_threads": num_threads,
        "device": device,
    }
    if out is not None:
        check_folder(out)
    values = gather(None, settings or [], options)
    from goodness.config import resolve
    from goodness.profiling.figures import draw_profile
    from goodness.profiling.profile import profile as measure
    from goodness.profiling.timing import PHASES
    from goodness.training.machine import set_machine

    config = resolve(values)
    chosen = set_machine(device, num_threads)
    image = (channels, image_size, image_size)
    log = console()
    with log.status("building") as status:
        record = {
            **record_head(chosen),
            "method": config.method,
            "model": config.model,
            "image": image,
            "batch": batch_size,
            **measure(config, image, num_classes, chosen, steps, status.update),
        }
    if out is not None:
        keep_record(record, out, "profile", draw_profile)
    if as_json:
        print_json(record)
        return
    numbers = (*(f"{phase}, ms" for phase in PHASES), "activations", "MFLOPs", "parameters")
    sheet = page()
    shown = table("block", *numbers, numbers=numbers)
    for block in record["blocks"]:
        shown.add_row(
            block["name"],
            *(f"{1e3 * block['seconds'][phase]:.1f}" for phase in PHASES),
            f"{block['activations'] / MIB:,.1f} MiB",
            f"{block['flops'] / 1e6:,.1f}",
            f"{block['parameters']:,}",
        )
    sheet.print(shown)
    sheet.print(
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
    sheet.print(guess)
    if out is not None:
        print(out)


def _guessed(row: dict[str, float]) -> tuple[str, str]:
    return f"{row['images_per_second']:,.1f}", f"{row['activations'] / MIB:,.1f} MiB"
