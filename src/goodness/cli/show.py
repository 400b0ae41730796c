"""What commands show of a run: its plan, its result, its early exits."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import yaml

from goodness.cli.output import console, duration, page, percent, show, table
from goodness.memory import in_units, memory_line

if TYPE_CHECKING:
    from goodness.config import Config
    from goodness.exits.records import CalibratedExit, ExitReport
    from goodness.results import DryRun
    from goodness.run import Run


def show_plan(plan: DryRun) -> None:
    """The resolved configuration, the blocks, and how long it will take."""
    out = page()
    out.print(yaml.safe_dump(plan.config, sort_keys=False, allow_unicode=True), soft_wrap=True)
    columns = list(dict.fromkeys(key for block in plan.blocks for key in block))
    rows = (map(_cell, map(block.get, columns)) for block in plan.blocks)
    out.print(table(columns, rows, [column for column in columns if column != "name"]))
    if plan.cache_bytes is not None:
        size, folder = in_units(plan.cache_bytes), plan.config["feature_cache"]
        out.print(f"\nfeatures on disk: up to {size} in '{folder}'", soft_wrap=True)
    out.print(f"\n{memory_line(plan.image_bytes, plan.step_bytes)}", soft_wrap=True)
    seconds = plan.seconds_per_epoch
    out.print(
        f"\n{plan.parameters:,} parameters, {plan.train_examples:,} training images\n"
        f"about {duration(seconds)} per epoch, {duration(seconds * plan.epochs)} for"
        f" {plan.epochs} epochs",
        soft_wrap=True,
    )


def show_result(run: Run) -> None:
    """Accuracy per block and per readout; the run folder alone on standard output."""
    from goodness.results import learning_blocks, shown_blocks, weaker_blocks
    from goodness.training.run_folder import RunFolder

    out = console()
    result = run.result
    assert result is not None
    splits = {"val": result.val, **({} if result.test is None else {"test": result.test})}
    history = RunFolder(run.folder).history()
    best = [row.train.blocks for row in history if row.epoch == result.train.best_epoch]
    trained = [block.accuracy for block in best[0]] if best else [None] * len(result.blocks)
    columns = [trained, *(split.per_block for split in splits.values())]
    rows = [
        (result.blocks[place], *(percent(column[place]) for column in columns))
        for place in shown_blocks(learning_blocks(history) or [False] * len(result.blocks))
    ]
    out.print(table(("block", "train", *splits), rows, ("train", *splits)))
    out.print()
    val, train = result.val, result.train
    readouts = (
        (
            readout,
            *(percent(split.readouts[readout]) for split in splits.values()),
            "chosen on val" if readout == val.readout else "",
        )
        for readout in val.readouts
    )
    out.print(table(("readout", *splits, ""), readouts, tuple(splits)))
    for place in weaker_blocks(val.per_block, val.examples):
        out.print(
            f"\nnote: block '{result.blocks[place]}' answers worse than one before it; 'goodness"
            f" diagnose {run.folder}' tells more",
            soft_wrap=True,
        )
    out.print(f"\nthe best of {train.epochs} epochs on val: {train.best_epoch}")
    folder = shlex.quote(str(run.folder))
    words = (f"report {folder}", f"predict {folder} IMAGE", f"calibrate {folder}")
    out.print("\n".join(f"next: goodness {each}" for each in words), soft_wrap=True)
    show(run.folder)


def show_exits(report: ExitReport, exits: Sequence[CalibratedExit]) -> None:
    """What leaves behind which block, how right it is, and what that saves."""
    out, full = page(), max(report.flops_full, 1)
    numbers = ("FLOPs", "accuracy", "ECE", "ECE, T", "T", "leave", "of these right")
    rows = (
        (
            own.block,
            f"{own.flops / full:.1%}",
            percent(own.accuracy),
            percent(own.ece_before),
            percent(own.ece_after),
            f"{exit_.temperature:.3g}",
            percent(own.left),
            percent(own.accuracy_left),
        )
        for own, exit_ in zip(report.exits, exits, strict=True)
    )
    out.print(table(("block", *numbers), rows, numbers))
    took = report.latency
    out.print(
        f"\n{report.data} {report.split}: accuracy {percent(report.accuracy)} with exits,"
        f" {percent(report.accuracy_full)} without; {percent(report.saved)} of the FLOPs saved"
        f" ({report.examples} images)\n"
        f"one image: {1e3 * took.alone_early:.2f} ms with exits, {1e3 * took.alone_full:.2f} ms"
        f" without; in a batch of {took.batch}: {1e3 * took.batch_early:.3f} and"
        f" {1e3 * took.batch_full:.3f} ms an image ({took.device}, threads: {took.num_threads})",
        soft_wrap=True,
    )


def note_boundary(config: Config, meaning: str) -> None:
    """Say what it means for a plain model that something stands between blocks, if it does."""
    from goodness.boundary import BOUNDARIES

    boundary = config.boundary["name"]
    if BOUNDARIES[boundary].changes_features():
        console().print(
            f"note: '{config.method}' puts '{boundary}' between blocks, {meaning}", soft_wrap=True
        )


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
