"""``goodness profile``: where a training step's time and memory go."""

from __future__ import annotations

from goodness.cli.options import OF_A_STEP, AsJson, Channels, NumClasses, Out, Steps, Values, takes
from goodness.cli.output import console, page, record_head, show_record, table
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

    config = resolve({**asked, "batch_size": batch})
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
        f"\n{batch / record['step_seconds']:,.1f} images/s;"
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
