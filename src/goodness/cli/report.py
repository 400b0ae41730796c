"""What ``goodness train`` shows: the plan of a dry run, and the result at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from goodness.cli.output import console, duration, page, percent, table

if TYPE_CHECKING:
    from goodness.api import Run
    from goodness.results import DryRun, Result


def show_plan(plan: DryRun) -> None:
    """The resolved configuration, the blocks, and how long it will take."""
    out = page()
    out.print(yaml.safe_dump(plan.config, sort_keys=False, allow_unicode=True), soft_wrap=True)
    columns = list(dict.fromkeys(key for block in plan.blocks for key in block))
    numbers = tuple(column for column in columns if column != "name")
    blocks = table(*columns, numbers=numbers)
    for block in plan.blocks:
        blocks.add_row(*(_cell(block.get(column)) for column in columns))
    out.print(blocks)
    if plan.cache_bytes is not None:
        from goodness.training.feature_cache import in_units

        size, folder = in_units(plan.cache_bytes), plan.config["feature_cache"]
        out.print(f"\nfeatures on disk: up to {size} in '{folder}'", soft_wrap=True)
    seconds = plan.seconds_per_epoch
    out.print(
        f"\n{plan.parameters:,} parameters, {plan.train_examples:,} training images\n"
        f"about {duration(seconds)} per epoch, {duration(seconds * plan.epochs)} for"
        f" {plan.epochs} epochs",
        soft_wrap=True,
    )


def show_result(run: Run) -> None:
    """Accuracy per block and per readout; the run folder alone on standard output."""
    out = console()
    result = run.result
    assert result is not None
    splits = {"val": result.val, **({} if result.test is None else {"test": result.test})}
    blocks = table("block", "train", *splits, numbers=("train", *splits))
    columns = [_train_accuracies(run, result), *(split.per_block for split in splits.values())]
    for name, *accuracies in zip(result.blocks, *columns, strict=True):
        blocks.add_row(name, *map(percent, accuracies))
    out.print(blocks)
    out.print()
    name, final = list(splits.items())[-1]
    readouts = table("readout", name, "", numbers=(name,))
    for readout, accuracy in final.readouts.items():
        readouts.add_row(readout, percent(accuracy), "chosen" if readout == final.readout else "")
    out.print(readouts)
    print(run.folder)


def _train_accuracies(run: Run, result: Result) -> list[float | None]:
    """Each block's accuracy on the training images, in the epoch whose weights were kept."""
    from goodness.training.run_folder import RunFolder

    for row in RunFolder(run.folder).history():
        if row.epoch == result.train.best_epoch:
            return [block.accuracy for block in row.train.blocks]
    return [None] * len(result.blocks)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return "×".join(map(str, value))
    return str(value)
