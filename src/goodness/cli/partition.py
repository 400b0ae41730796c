"""``goodness partition``: the blocks that a model is cut into, and what each costs."""

from __future__ import annotations

from typing import Annotated

import typer

from goodness.cli.options import AsJson, Channels, ModelArgs, NumClasses, Values, takes
from goodness.cli.output import SCHEMA, page, print_json, table
from goodness.cli.values import model_args
from goodness.config import merge
from goodness.types import HEAD

NUMBERS = ("parameters", "MFLOPs", "activations")


@takes("partition", "imports", "image_size", settings=False, partition="block", image_size=32)
def partition(
    model: Annotated[str, typer.Argument(help="A model, e.g. timm/resnet18.", show_default=False)],
    values: Values,
    channels: Channels = 3,
    num_classes: NumClasses = 10,
    model_arg: ModelArgs = None,
    as_json: AsJson = False,
) -> None:
    """Show where a model is cut, with shapes, parameters, FLOPs and activation memory."""
    asked = values()
    from goodness.models import MODELS
    from goodness.partition import PARTITIONS
    from goodness.partition.costs import costs

    part = MODELS.resolve(merge({"model": model}, *model_args(model, model_arg))["model"])
    image = (channels, asked["image_size"], asked["image_size"])
    cut = PARTITIONS.resolve(asked["partition"])
    rows = costs(MODELS.make(part, image, num_classes), image, num_classes, cut)
    if as_json:
        print_json({"schema": SCHEMA, "model": part, "image": image, "blocks": rows})
        return
    shown = (
        (
            row["name"],
            "×".join(map(str, row["input"])),
            "×".join(map(str, row["output"])),
            f"{row['parameters']:,}",
            f"{row['flops'] / 1e6:,.1f}",
            f"{row['activation_bytes'] / 2**20:.2f} MiB",
        )
        for row in rows
    )
    sheet = page()
    sheet.print(table(("block", "input", "output", *NUMBERS), shown, NUMBERS))
    blocks = sum(row["name"] != HEAD for row in rows)
    highest = max(row["activation_bytes"] for row in rows)
    total = sum(row["activation_bytes"] for row in rows)
    sheet.print(
        f"\n{blocks} blocks, {sum(row['parameters'] for row in rows):,} parameters; per image"
        f" {sum(row['flops'] for row in rows) / 1e6:,.1f} MFLOPs forward, and of activations kept"
        f" for the gradient {total / 2**20:.2f} MiB in all, {highest / 2**20:.2f} MiB in the"
        " largest block",
        soft_wrap=True,
    )
