"""``goodness profile``: where a training step's time and memory go."""

from __future__ import annotations

from itertools import starmap

from goodness.cli.options import OF_A_STEP, AsJson, Channels, NumClasses, Out, Steps, Values, takes
from goodness.cli.output import console, page, record_head, show, show_record, table
from goodness.cli.values import images_of
from goodness.files import check_folder

MIB = 2**20


@takes("method", *OF_A_STEP, method="sff", image_size=32, batch_size=128)
def profile(
    values: Values,
    channels: Channels = 3,
    num_classes: NumClasses = 10,
    steps: Steps = 10,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure a training step block by block on random images: time, memory, and what-if."""
    if out is not None:
        check_folder(out)
    asked = values()
    image, batch = images_of(asked, channels, least=4)
    from goodness.config import resolve
    from goodness.profiling.figures import draw_profile
    from goodness.profiling.profile import profile as measure
    from goodness.profiling.timing import PHASES
    from goodness.training.machine import set_machine

    config = resolve(asked)
    chosen = set_machine(config.device, config.num_threads)
    with console().status("building") as status:
        record = {
            **record_head(chosen),
            **{"method": config.method, "model": config.model, "image": image, "batch": batch},
            **measure(config, image, num_classes, chosen, steps, status.update),
        }
    if show_record(record, out, "profile", draw_profile, as_json):
        return
    numbers = (*(f"{phase}, ms" for phase in PHASES), "activations", "MFLOPs", "parameters")
    sheet = page()
    rows = (
        (
            block["name"],
            *(f"{1e3 * block['seconds'][phase]:.1f}" for phase in PHASES),
            f"{block['activations'] / MIB:,.1f} MiB",
            f"{block['flops'] / 1e6:,.1f}",
            f"{block['parameters']:,}",
        )
        for block in record["blocks"]
    )
    sheet.print(table(("block", *numbers), rows, numbers))
    sheet.print(
        f"\n{batch / record['step_seconds']:,.1f} images/s;"
        f" {record['share_of_bound']:.0%} of a step is what its convolutions take alone;"
        f" augmentation {1e3 * record['data_seconds']:.1f} ms a batch;"
        f" peak of activations {record['memory']['activations'] / MIB:,.1f} MiB,"
        f" in all {record['memory']['total'] / MIB:,.1f} MiB\n",
        soft_wrap=True,
    )
    guess = record["what_if"]
    guesses = [
        *((f"batch {row['batch']}", row) for row in guess["batches"]),
        *((f"{d['times']} times as deep, {d['blocks']} blocks", d) for d in guess["depths"][1:]),
        *((f"{row['ranks']} ranks", row) for row in guess["ranks"][1:]),
    ]
    numbers = ("images/s", "activations")
    sheet.print(table(("what if", *numbers), starmap(_guess, guesses), numbers))
    if out is not None:
        show(out)


def _guess(what: str, row: dict[str, float]) -> tuple[str, str, str]:
    activations = f"{row['activations'] / MIB:,.1f} MiB" if "activations" in row else "–"
    return what, f"{row['images_per_second']:,.1f}", activations
