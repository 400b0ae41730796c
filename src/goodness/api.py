"""Train, resume and load in one call each; the command line is built on these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from typing_extensions import Unpack

from goodness.config import Config, changed, resolve
from goodness.data.catalogue import GIVEN_NAMES
from goodness.data.given import Given, batch_size_of, kind_of
from goodness.data.locating import class_folders_in
from goodness.errors import InputError
from goodness.files import file_name
from goodness.keywords import ConfigValues
from goodness.parallel.joining import join
from goodness.profiling.estimate import step_memory
from goodness.results import (
    DryRun,
)
from goodness.run import Run
from goodness.sharing.folder import SharedFolder
from goodness.sharing.locating import locate
from goodness.training.callbacks import Callback, ChanceWarning, EarlyStopping
from goodness.training.lock import check_free
from goodness.training.machine import set_machine
from goodness.training.preparing import prepare
from goodness.training.ranks import Ranks
from goodness.training.run_folder import RunFolder
from goodness.training.speed import time_step


def fit(
    data: str | Path | Given | None = None,
    *,
    method: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
    command: str | None = None,
    **values: Unpack[ConfigValues],
) -> Run:
    """Train a network.

    With ``parallel="layers"`` or ``"data"`` every process that torchrun has started calls it; the
    first one alone writes and calls back.

    For the whole process, and for good, it flushes denormal numbers to zero and, for a CPU under
    Linux, tells glibc's malloc to keep freed memory; torch's default generators are reseeded.

    Args:
        data: a name, a folder of images, or what a program has: arrays ``(images, labels)``, a
            torch ``Dataset`` or ``DataLoader``, or these by part; see `goodness.open_data`. None:
            the recipe's, or the embedded digits.
        method: a name from ``goodness methods``; None: the recipe's, or the default.
        out: the run folder; None makes ``runs/<time>-<method>-<data>``.
        overwrite: replace a run that is already there.
        callbacks: told of every step and epoch, e.g. `EarlyStopping`.
        command: kept in ``environment.json``.
        values: configuration keys, e.g. ``epochs=3, lr=1e-3, model="vgg8"``.

    Raises:
        InputError: bad input; nothing is lost or overwritten.
        RunError: a failure while running.
    """
    config = _resolved(data, method, values)
    with join(config) as ranks, ExitStack() as held:
        if ranks.is_leader and out is not None:
            # Checked before the data is read, which may take long.
            check_free(RunFolder.check(out, overwrite).path)
        if ranks.is_leader:
            _check_outside(Path("runs" if out is None else out), config.data)
        trainer = prepare(
            config,
            ranks,
            callbacks=_followers(config, ranks, callbacks),
            data=_given(data),
            default_batch=values.get("batch_size") is None,
        )
        config = trainer.config
        folder = Path()
        if ranks.is_leader:
            folder = _new_folder(config) if out is None else Path(out)
            run = RunFolder(folder)
            held.enter_context(run.alone())
            RunFolder.create(folder, overwrite)
            run.write_config(trainer.config)
            _write_environment(run, command, ranks.device)
        trainer.run = RunFolder(ranks.broadcast(folder))
        ranks.set_run(trainer.run)
        trainer.fit()
        return Run(trainer.run.path, device=str(ranks.device))


def resume(
    run_folder: str | Path,
    *,
    data: Given | None = None,
    changed_data: bool = False,
    epochs: int | None = None,
    device: str | None = None,
    parallel: str | None = None,
    num_workers: int | None = None,
    num_threads: int | None = None,
    max_pixels: int | None = None,
    feature_cache: str | None = None,
    early_stopping: int | Mapping[str, Any] | None = None,
    checkpoint: Mapping[str, Any] | None = None,
    log: Sequence[str] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Go on with a run from its last checkpoint, exactly as if it had never stopped.

    A run that was stopped before its first checkpoint begins anew, with its own values.

    Args:
        run_folder: the run.
        data: what `fit` was given, where it was no name or folder.
        changed_data: go on though the data is not what it was: images have come, gone or changed,
            or classes have other names. Epochs keep their number of steps.
        epochs: another length for the whole run; rates follow it from here on.
        device: another device.
        parallel: another way to share the work among processes; their number may change too.
        num_workers: another number of processes that decode images.
        num_threads: another number of CPU threads.
        max_pixels: another limit for image files.
        feature_cache: another folder for features.
        early_stopping: another patience, say.
        checkpoint: how often to save, and how many epochs' weights to keep.
        log: other loggers.
        callbacks: as in `fit`.

    Raises:
        InputError: there is no run, nothing left to do, the checkpoint does not fit, or the data
            is missing or another one.
    """
    path = locate(run_folder)
    if SharedFolder.holds(path):
        raise InputError(
            f"'{run_folder}' is a shared network without the state to go on from; --init-from"
            " starts a new run from its weights"
        )
    run = RunFolder.open(path)
    changes = {
        **{"epochs": epochs, "device": device, "parallel": parallel, "num_workers": num_workers},
        **{"num_threads": num_threads, "max_pixels": max_pixels, "log": log},
        **{"early_stopping": early_stopping, "checkpoint": checkpoint},
        "feature_cache": feature_cache,
    }
    config = changed(run.read_config(), changes)
    _check_given(run, config, data)
    with join(config) as ranks, ExitStack() as held:
        if ranks.is_leader:
            held.enter_context(run.alone())
        begun = ranks.broadcast(run.has_checkpoint())
        if begun and changed_data and config.steps_per_epoch is None:
            meta, _ = run.load_checkpoint(run.last)
            config = changed(config, {"steps_per_epoch": meta["steps_per_epoch"]})
        followers = _followers(config, ranks, callbacks)
        trainer = prepare(config, ranks, run if begun else None, followers, data)
        trainer.run = run
        ranks.set_run(run)
        if begun:
            trainer.restore(changed_data)
        elif ranks.is_leader and run.metrics_file.exists():
            run.cut_history(0)  # of an epoch that it was killed in before saving
        stopped = any(isinstance(c, EarlyStopping) and c.is_due(trainer) for c in trainer.callbacks)
        ended = (stopped or trainer.epoch >= config.epochs) and run.result_file.is_file()
        ended, stopped = ranks.broadcast((ended, stopped))
        if ended:
            way = "--early-stopping with more patience" if stopped else "more with --epochs"
            raise InputError(f"'{run.path}' has finished, with epoch {trainer.epoch}; give {way}")
        if ranks.is_leader:
            run.write_config(config)
        trainer.fit()
        return Run(run.path, device=str(ranks.device))


def load(run: str | Path, device: str = "auto", epoch: int | None = None) -> Run:
    """A trained network: of a finished or stopped run, with the weights best on validation, or one
    that was shared.

    Args:
        run: a run folder; a folder that `Run.save_pretrained` wrote; ``"hf:USER/NAME"`` on the
            Hugging Face Hub, or with ``@REVISION``; ``"pretrained/NAME"``, one that this package
            ships (`goodness.list_pretrained`). A `Path` is always a folder.
        device: where to compute.
        epoch: the weights of a run's epoch instead, counted from 1; see ``checkpoint.keep``.

    Raises:
        InputError: there is none, it is damaged, or it would run code of its own; or the epoch's
            weights are not kept.
    """
    return Run(run, device, epoch)


def dry_run(
    data: str | Path | Given | None = None,
    *,
    method: str | None = None,
    **values: Unpack[ConfigValues],
) -> DryRun:
    """What `fit` would do, without doing it; the arguments are those of `fit`.

    Raises:
        InputError: as `fit` does.
    """
    config = _resolved(data, method, values)
    trainer = prepare(
        config,
        Ranks(set_machine(config.device, config.num_threads)),
        data=_given(data),
        default_batch=values.get("batch_size") is None,
    )
    config, network = trainer.config, trainer.network
    memory = step_memory(trainer)
    return DryRun(
        config=config.model_dump(mode="json"),
        blocks=network.facts(),
        parameters=sum(p.numel() for p in network.parameters()),
        train_examples=len(trainer.dataset.train),
        epochs=config.epochs,
        seconds_per_epoch=time_step(trainer) * trainer.steps_per_epoch,
        cache_bytes=None if trainer.cache is None else trainer.cache.peak_bytes(),
        image_bytes=trainer.dataset.memory_bytes,
        step_bytes=None if memory is None else memory.of(config.batch_size),
    )


def _resolved(
    data: str | Path | Given | None, method: str | None, values: Mapping[str, Any]
) -> Config:
    """The configuration; of a loader with its batch size, unless another one is asked for."""
    own = {} if (given := _given(data)) is None else {"batch_size": batch_size_of(given)}
    asked = {key: value for key, value in values.items() if value is not None or key not in own}
    return resolve({**own, **asked, "data": _data(data), "method": method})


def _data(data: str | Path | Given | None) -> str | None:
    """A name or folder as text; a `Path` is a folder, even one called "mnist"."""
    if data is None or isinstance(data, str):
        return data
    return str(data.absolute()) if isinstance(data, Path) else kind_of(data)


def _given(data: str | Path | Given | None) -> Given | None:
    """What a program gave, where it is no name or folder."""
    return None if data is None or isinstance(data, str | Path) else data


def _check_given(run: RunFolder, config: Config, data: Given | None) -> None:
    """Refuse to resume on no data, or on data that the run never had."""
    if config.data in GIVEN_NAMES and data is None:
        raise InputError(
            f"'{run.path}' was trained on data that a program gave, which is not kept: give it"
            " again, goodness.resume(run, data=data)"
        )
    if config.data not in GIVEN_NAMES and data is not None:
        raise InputError(f"'{run.path}' was trained on '{config.data}': it takes no other data")


def _check_outside(folder: Path, data: str) -> None:
    """Refuse a run folder whose pictures would be images of a class from then on."""
    if not (Path(data).is_absolute() and Path(data).is_dir()):
        return
    for place in class_folders_in(Path(data)):
        if folder.resolve().is_relative_to(place.resolve()):
            raise InputError(
                f"the run folder '{folder}' would lie among the classes in '{place}', and be one"
                " itself: choose --out elsewhere"
            )


def _new_folder(config: Config) -> Path:
    """An empty folder that is this run's alone, though others may begin in the same second."""
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    base = Path("runs") / file_name(f"{now}-{config.method}-{Path(config.data).name}")
    path, number = base, 1
    while True:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
            path = base.with_name(f"{base.name}-{number}")
        else:
            return path


def _followers(config: Config, ranks: Ranks, callbacks: Sequence[Callback]) -> Sequence[Callback]:
    """The callbacks of the leading rank; the others have none, and need not import any."""
    if not ranks.is_leader:
        return ()
    from goodness.loggers import LOGGERS

    own: list[Callback] = [LOGGERS[name]() for name in dict.fromkeys(config.log)]
    if config.early_stopping is not None:
        own.append(EarlyStopping(**config.early_stopping.model_dump()))
    return [*own, *_with_reports(callbacks)]


def _with_reports(callbacks: Sequence[Callback]) -> list[Callback]:
    from goodness.reports.curves import Curves

    return [Curves(), ChanceWarning(), *callbacks]


def _write_environment(run: RunFolder, command: str | None, device: torch.device) -> None:
    from goodness.reports.environment import environment

    run.write_environment(environment(command, device))
