"""``goodness train``: train, watch, test; or resume; or only tell what would be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodness.cli.options import DEVICES
from goodness.cli.output import command_line, console
from goodness.cli.report import show_plan, show_result
from goodness.cli.values import gather, model_part
from goodness.errors import InputError
from goodness.parallel.launch import launched

if TYPE_CHECKING:
    from goodness.api import Run
    from goodness.training.callbacks import Callback

WHAT = "What to train"
HOW = "How"
WHERE = "Where and how fast"
RUN = "The run"
WITH_RESUME = {"resume", "epochs", "device", "parallel", "quiet"}


def train(
    context: typer.Context,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", rich_help_panel=WHAT, help="See 'goodness methods'; default: asge-fast."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=WHAT,
            help="See 'goodness models'; or torchvision/NAME, timm/NAME; default: the method's.",
        ),
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=JSON",
            rich_help_panel=WHAT,
            help="For the model's constructor, e.g. channels=[16,32,64,128]; may be repeated.",
        ),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|N",
            rich_help_panel=WHAT,
            help="How the model is cut: layer, block, stage, or into N blocks of equal cost; see"
            " 'goodness partition'; default: the method's.",
        ),
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            "--pretrained",
            rich_help_panel=WHAT,
            help="Start from the published weights. Norms between blocks, which many methods have,"
            " change what they compute.",
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|RUN",
            rich_help_panel=WHAT,
            help="Start from a .safetensors or .pth file, or from another run's best weights.",
        ),
    ] = None,
    freeze_until: Annotated[
        str | None,
        typer.Option(
            metavar="BLOCK",
            rich_help_panel=WHAT,
            help="Leave the blocks before this one as they are; 'head': all blocks.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR",
            rich_help_panel=WHAT,
            help="See 'goodness data'; or a folder with a folder per class; default: digits.",
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=WHAT,
            help="Where named data sets are kept; default: $GOODNESS_DATA or ~/.cache/goodness.",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", rich_help_panel=WHAT, help="Resize images to this side."),
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", rich_help_panel=WHAT, help="Only these classes of the data."),
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=WHAT,
            help="Only N training images of each class, drawn by the seed.",
        ),
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=WHAT,
            help="Part of the training images to hold out.",
        ),
    ] = None,
    skip_unreadable: Annotated[
        bool | None,
        typer.Option(
            "--skip-unreadable", rich_help_panel=WHAT, help="Leave out files that cannot be read."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=HOW, help="Passes over the training images."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", rich_help_panel=HOW, help="Images per step.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="RATE", rich_help_panel=HOW, help="Learning rate.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(metavar="RATE", rich_help_panel=HOW, help="Weight decay.")
    ] = None,
    readout: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=HOW,
            help="Which readout answers; auto: the best one on the validation images.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=HOW, help="The same seed, the same run."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY.PATH=VALUE",
            rich_help_panel=HOW,
            help="Any configuration value, as YAML, e.g. objective.alpha=2; may be repeated.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=HOW,
            help="YAML file of configuration values; --set and the other options override it.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=WHERE, help=DEVICES),
    ] = None,
    num_workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", rich_help_panel=WHERE, help="Processes that decode images from disk."
        ),
    ] = None,
    num_threads: Annotated[
        int | None, typer.Option(metavar="N", rich_help_panel=WHERE, help="CPU threads of torch.")
    ] = None,
    amp: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            rich_help_panel=WHERE,
            help="Mixed precision inside the blocks: bf16, fp16 or none.",
        ),
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option("--compile", rich_help_panel=WHERE, help="torch.compile every block."),
    ] = None,
    feature_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=WHERE,
            help="Keep on disk what finished blocks send on, so that they run once.",
        ),
    ] = None,
    parallel: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            rich_help_panel=WHERE,
            help="What the processes that torchrun has started share: layers, data or none.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", rich_help_panel=RUN, help="Run folder; default: new, in runs/."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=RUN, help="Replace the run in --out.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            rich_help_panel=RUN,
            help="Go on with this run, with its own values; only --epochs, --device and --parallel"
            " may change.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", rich_help_panel=RUN, help="Show the result only.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            rich_help_panel=RUN,
            help="Show the configuration, the blocks and the time it will take; write nothing.",
        ),
    ] = False,
) -> None:
    """Train a network and test it; prints the run folder on standard output."""
    if resume is not None:
        _refuse_others(context)
        with _watching(quiet) as callbacks:
            from goodness import api

            run = api.resume(
                resume, epochs=epochs, device=device, parallel=parallel, callbacks=callbacks
            )
        _show(run)
        return
    values = gather(
        config,
        settings or [],
        {
            "method": method,
            "model": model_part(model, model_arg or []),
            "partition": partition,
            "pretrained": pretrained,
            "init_from": init_from,
            "freeze_until": freeze_until,
            "data": data,
            "data_root": None if data_root is None else str(data_root),
            "image_size": image_size,
            "class_names": None
            if class_names is None
            else [name.strip() for name in class_names.split(",")],
            "per_class": per_class,
            "val_fraction": val_fraction,
            "skip_unreadable": skip_unreadable,
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "weight_decay": weight_decay,
            "readout": readout,
            "seed": seed,
            "device": device,
            "num_workers": num_workers,
            "num_threads": num_threads,
            "amp": amp,
            "compile": compile,
            "feature_cache": None if feature_cache is None else str(feature_cache),
            "parallel": parallel,
        },
    )
    from goodness import api

    if _leads():
        _warn_of_boundary(values)
    if dry_run:
        if _leads():
            show_plan(api.dry_run(**values))
        return
    command = command_line()
    with _watching(quiet) as callbacks:
        run = api.fit(**values, out=out, overwrite=overwrite, callbacks=callbacks, command=command)
    _show(run)


def _leads() -> bool:
    """Whether this process is alone, or the first of those that torchrun has started."""
    here = launched()
    return here is None or here.rank == 0


def _show(run: Run) -> None:
    if _leads():
        show_result(run)


def _warn_of_boundary(values: dict[str, Any]) -> None:
    """Say where weights made without a method's boundary will compute something else."""
    from goodness.config import resolve

    config = resolve(values)
    given = config.pretrained or Path(config.init_from or ".").is_file()
    if given and config.boundary["name"] != "identity":
        console().print(
            f"note: '{config.method}' puts '{config.boundary['name']}' between blocks, so that the"
            " given weights compute other features than in their own network"
            " (--set boundary=identity leaves them)",
            soft_wrap=True,
        )


def _refuse_others(context: typer.Context) -> None:
    """A resumed run keeps its values; an option that would be ignored is an error.

    Raises:
        InputError: naming the options that were given.
    """
    others = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in WITH_RESUME
        and context.get_parameter_source(str(parameter.name)).name == "COMMANDLINE"  # type: ignore[union-attr]
    ]
    if others:
        raise InputError(
            f"--resume takes the values of the run; {', '.join(others)} cannot be given with it"
            " (only --epochs, --device and --parallel can)"
        )


@contextmanager
def _watching(quiet: bool) -> Iterator[list[Callback]]:
    """The callbacks of the command line: signals, and a display that suits the terminal."""
    from goodness.reports.progress import CacheNotice, LiveProgress, PlainProgress
    from goodness.training.signals import StopOnSignal, ignored

    out = console()
    with ExitStack() as stack:
        if not _leads():
            # torchrun hands signals to all; the first one stops the others where it stops.
            stack.enter_context(ignored())
            yield []
            return
        callbacks: list[Callback] = [stack.enter_context(StopOnSignal())]
        if not quiet:
            live = out.is_terminal
            callbacks.append(CacheNotice(out))
            callbacks.append(stack.enter_context(LiveProgress(out)) if live else PlainProgress(out))
        yield callbacks
