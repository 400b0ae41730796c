"""``goodness``: the commands, and what exit code each error becomes."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, TextIO

import typer

from goodness.cli.bench import bench
from goodness.cli.calibrate import calibrate
from goodness.cli.compare import compare
from goodness.cli.demo import demo
from goodness.cli.diagnose import diagnose
from goodness.cli.evaluate import evaluate
from goodness.cli.explain import explain
from goodness.cli.export import export
from goodness.cli.lists import data, methods, models, recipes, runs
from goodness.cli.partition import partition
from goodness.cli.predict import predict
from goodness.cli.profile import profile
from goodness.cli.push import push
from goodness.cli.report import report
from goodness.cli.streams import finish_output, prepare_streams
from goodness.cli.train import train
from goodness.errors import (
    NO_WORKER,
    EndedElsewhere,
    GoodnessError,
    InputError,
    Interrupted,
    RunError,
)
from goodness.notes import Note
from goodness.parallel.launch import launched
from goodness.printable import printable
from goodness.training.signals import Ended, ended_at_once

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train convolutional networks forward-only: every block learns from its own local loss.",
)
for command in (
    *(train, compare, evaluate, calibrate, diagnose, predict, explain, report),
    *(export, push, demo, partition, bench, profile),
    *(runs, methods, models, recipes, data),
):
    app.command()(command)

NO_MEMORY = (
    "out of memory (a smaller --batch-size or --image-size helps, a smaller model, or for training"
    " --micro-batch 16)"
)
TORCH_LACKS_MEMORY = re.compile("(allocate|out of|not enough) memory|size calculation over")
"""What torch's errors say on a CPU, on CUDA, on other systems, and of more bytes than can be
counted. By their words, as a type of torch would need torch."""
LOST_WORKER = re.compile("DataLoader worker .*(killed|exited)|shared memory|in /dev/shm|</torch_")
"""What torch says then, in several ways and at any place of the training."""


def _show_version(asked: bool) -> None:
    if asked:
        print(f"goodness {version('goodness')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """The options before the command."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line, by default with this process's arguments.

    Raises:
        SystemExit: always; 0 for success, 2 for bad input, 1 for a failure while running,
            128 + signal number for an interruption.
    """
    _wait_briefly()
    prepare_streams()
    _suit_the_system()
    try:
        _run(args)
    finally:
        finish_output()


def _run(args: Sequence[str] | None) -> None:
    """Run a command; every error that a user can meet becomes a line and an exit code."""
    try:
        with ended_at_once(), _notes_shown():
            app(args, prog_name="goodness")
    except Ended as error:
        _fail(RunError(error.text), 128 + error.number)
    except Interrupted as error:
        _fail(error, 128 + error.signum)
    except InputError as error:
        _fail(error, 2)
    except (RunError, OSError) as error:  # OSError: a full disk, a folder that is not ours
        _fail(error, 1)
    except (MemoryError, RuntimeError) as error:
        if LOST_WORKER.search(str(error)):
            _fail(RunError(NO_WORKER), 1)
        if not _lacks_memory(error):
            raise
        # The command line's own words: torch's are many lines, and MemoryError has often none.
        _fail(MemoryError(NO_MEMORY), 1)


@contextmanager
def _notes_shown() -> Iterator[None]:
    """Print notes as one line each; other warnings stay as they are."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, Note):
                others(message, category, filename, lineno, file, line)
            elif (here := launched()) is None or here.rank == 0:
                print(f"note: {printable(str(message))}", file=sys.stderr)

        warnings.showwarning = show
        warnings.simplefilter("always", Note)
        # Of metadata that are damaged in an image which can be read.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _wait_briefly() -> None:
    """Let idle OpenMP threads sleep soon, unless the user has chosen otherwise.

    By default libgomp's threads spin for milliseconds at every barrier. With one other busy process
    on two cores that makes a training step five times slower. A shorter spin halves that, at no
    cost on an idle machine. Read when torch is first imported, which is after this.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _suit_the_system() -> None:
    """Text as UTF-8 also in Windows' files and pipes; on a Mac the CPU for what MPS cannot do."""
    if sys.platform == "win32":
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    if sys.platform == "darwin":
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # read when torch is imported


def _fail(error: Exception, code: int) -> None:
    if not _said_elsewhere(error):
        print(f"error: {printable(str(error))}", file=sys.stderr)
    sys.exit(code)


def _lacks_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(TORCH_LACKS_MEMORY.search(str(error)))


def _said_elsewhere(error: Exception) -> bool:
    """Whether another process of a parallel run says it."""
    here = launched()
    if here is None or isinstance(error, EndedElsewhere):
        return here is not None
    # Before the ranks have met, all find the same errors.
    return here.rank > 0 and isinstance(error, GoodnessError) and error.rank is None
