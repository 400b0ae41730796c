"""``goodness train``: train, watch, test; or resume; or only tell what would be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodness.cli.options import Values, takes
from goodness.cli.output import command_line, console
from goodness.cli.show import note_boundary, show_plan, show_result
from goodness.config import KEYS, RESUMABLE
from goodness.errors import InputError
from goodness.parallel.launch import launched
from goodness.reports.notices import CacheNotice, MemoryNotice, SetupNotice
from goodness.reports.progress import LiveProgress, Loading, PlainProgress

if TYPE_CHECKING:
    from goodness.run import Run
    from goodness.training.callbacks import Callback

MAY_CHANGE = ", ".join(KEYS[key].option for key in RESUMABLE if KEYS[key].option)


@takes(*(name for name, key in KEYS.items() if key.option))
def train(
    context: typer.Context,
    values: Values,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder; default: new, in runs/.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help=f"Go on with this run, with its own values; only {MAY_CHANGE} may change.",
        ),
    ] = None,
    changed_data: Annotated[
        bool,
        typer.Option(
            "--changed-data", help="With --resume: go on though the data is not what it was."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show the result only.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show the configuration, the blocks and the time it will take; write nothing.",
        ),
    ] = False,
) -> None:
    """Train a network and test it; prints the run folder on standard output."""
    if resume is not None:
        _refuse_others(context)
        with _watching(quiet) as callbacks:
            changes = values()
            from goodness import api

            run = api.resume(resume, changed_data=changed_data, callbacks=callbacks, **changes)
        _show(run)
        return
    if changed_data:
        raise InputError("--changed-data is for a run that goes on (use --resume RUN)")
    if dry_run:
        if _leads():
            with Loading(console()):
                asked = _asked(values)
                from goodness import api

                plan = api.dry_run(**asked)
            show_plan(plan)
        return
    command = command_line()
    with _watching(quiet) as callbacks:
        asked = _asked(values)
        from goodness import api

        run = api.fit(**asked, out=out, overwrite=overwrite, callbacks=callbacks, command=command)
    _show(run)


def _leads() -> bool:
    """Whether this process is alone, or the first of those that torchrun has started."""
    here = launched()
    return here is None or here.rank == 0


def _show(run: Run) -> None:
    if _leads():
        show_result(run)


def _asked(values: Values) -> dict[str, Any]:
    """What was asked for.

    It is said where weights made without a method's boundary will compute something else.
    """
    asked = values()
    if not _leads():
        return asked
    from goodness.config import resolve

    config = resolve(asked)
    if config.pretrained or Path(config.init_from or ".").is_file():
        note_boundary(
            config,
            "so that the given weights compute other features than in their own network"
            " (--boundary identity leaves them)",
        )
    return asked


def _refuse_others(context: typer.Context) -> None:
    """A resumed run keeps its values; an option that would be ignored is an error.

    Raises:
        InputError: naming the options that were given.
    """
    others = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in {"resume", "changed_data", "quiet", *RESUMABLE}
        and context.get_parameter_source(str(parameter.name)).name == "COMMANDLINE"  # type: ignore[union-attr]
    ]
    if others:
        raise InputError(
            f"--resume takes the values of the run; {', '.join(others)} cannot be given with it"
            f" (only {MAY_CHANGE} can)"
        )


@contextmanager
def _watching(quiet: bool) -> Iterator[list[Callback]]:
    """The callbacks of the command line: signals, and a display that suits the terminal."""
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
            callbacks.append(stack.enter_context(Loading(out)))
            callbacks += [SetupNotice(out), MemoryNotice(out), CacheNotice(out)]
            live = out.is_terminal
            callbacks.append(stack.enter_context(LiveProgress(out)) if live else PlainProgress(out))
        yield callbacks
