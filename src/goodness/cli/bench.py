"""``goodness bench``: speed and memory of local methods against backprop's."""

from __future__ import annotations

from itertools import starmap
from typing import Annotated, Any

import typer

from goodness.cli.options import OF_A_STEP, AsJson, Channels, NumClasses, Out, Steps, Values, takes
from goodness.cli.output import console, page, record_head, show, show_record, table
from goodness.cli.values import images_of
from goodness.errors import InputError
from goodness.files import check_folder

NUMBERS = ("images/s", "× backprop", "of bound", "activations", "× backprop's", "in all")
MIB = 2**20


@takes(*OF_A_STEP, model="vgg8", image_size=32, batch_size=128)
def bench(
    methods: Annotated[
        list[str], typer.Argument(metavar="METHOD...", help="Local methods.", show_default=False)
    ],
    values: Values,
    channels: Channels = 3,
    num_classes: NumClasses = 10,
    steps: Steps = 10,
    depths: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Also memory at these depths.")
    ] = None,
    width: Annotated[int, typer.Option(min=1, help="Channels in the sweep over depths.")] = 64,
    side: Annotated[
        int, typer.Option(min=1, metavar="PIXELS", help="Side in the sweep over depths.")
    ] = 16,
    time_steps: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Also memory at these time steps of spiking neurons."),
    ] = None,
    batches: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Also speed and memory at these batches.")
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Also speed and memory where the batch is taken in so many parts.",
        ),
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure a step of local methods against backprop, on one network and in one run.

    The baselines: backprop, backprop that keeps block inputs alone (checkpointing), and backprop in
    so many parts that it needs no more memory than the leanest local method.
    """
    if out is not None:
        check_folder(out)
    asked = values()
    image, batch = images_of(asked, channels, least=2)
    sweep_depths, sweep_batches = _numbers("--depths", depths), _numbers("--batches", batches)
    sweep_time, sweep_parts = _numbers("--time-steps", time_steps), _numbers("--parts", parts)
    from goodness.profiling.bench import (
        Bench,
        batch_sweep,
        compare_steps,
        depth_sweep,
        parts_sweep,
        time_sweep,
    )
    from goodness.profiling.figures import draw_bench
    from goodness.training.machine import set_machine

    chosen = set_machine(asked.get("device", "auto"), asked.get("num_threads"))
    model = asked.pop("model")
    setup = Bench(methods, model, image, num_classes, batch, steps, chosen, asked)
    with console().status("building") as status:
        over_time = time_sweep(setup, sweep_time, status.update)
        record = {
            **record_head(chosen),
            **{"model": setup.network(), "image": image, "batch": batch, "steps": steps},
            **compare_steps(setup, status.update),
            "batches": batch_sweep(setup, sweep_batches, status.update),
            "parts": parts_sweep(setup, sweep_parts, status.update),
            "time_steps": over_time,
        }
        deep = setup._replace(image_shape=(channels, side, side))
        record["depths"] = depth_sweep(deep, sweep_depths, width, status.update)
    if show_record(record, out, "bench", draw_bench, as_json):
        return
    sheet = page()
    sheet.print(table(("way", *NUMBERS), starmap(_row, record["ways"].items()), NUMBERS))
    sheet.print(
        f"\nbound on the speed of layer-local steps, from the convolutions alone:"
        f" {record['bound']:.2f} × backprop",
        soft_wrap=True,
    )
    if sweep_parts:
        ways = list(record["parts"][0]["ways"])
        sheet.print("\nin parts, images/s and activations:")
        sheet.print(table(("parts", *ways), map(_parts_row, record["parts"]), ways))
    if over_time:
        ways = list(over_time[0]["activations"])
        sheet.print("\nactivations over the time steps of an image:")
        sheet.print(table(("time steps", *ways), map(_time_row, over_time), ways))
    if out is not None:
        show(out)


def _time_row(row: dict[str, Any]) -> tuple[str, ...]:
    sizes = (f"{size / MIB:,.1f} MiB" for size in row["activations"].values())
    return str(row["time_steps"]), *sizes


def _parts_row(row: dict[str, Any]) -> tuple[str, ...]:
    cells = (
        f"{way['images_per_second']:,.1f}, {way['activations'] / MIB:,.1f} MiB"
        for way in row["ways"].values()
    )
    return str(row["parts"]), *cells


def _row(name: str, way: dict[str, Any]) -> tuple[str, ...]:
    share = way["share_of_bound"]
    return (
        f"{name} in {way['accumulate_steps']}" if way["accumulate_steps"] > 1 else name,
        f"{way['images_per_second']:,.1f}",
        f"{way['speed_of_backprop']:.2f}",
        "–" if share is None else f"{share:.2f}",
        f"{way['memory']['activations'] / MIB:,.1f} MiB",
        f"{way['activations_of_backprop']:.2f}",
        f"{way['memory']['total'] / MIB:,.1f} MiB",
    )


def _numbers(option: str, text: str | None) -> list[int]:
    try:
        numbers = [int(part) for part in (text or "").split(",") if part.strip()]
    except ValueError:
        numbers = [0]
    if any(number < 1 for number in numbers):
        raise InputError(f"{option} needs numbers from 1 up, e.g. 8,16,32 (got '{text}')")
    return numbers
