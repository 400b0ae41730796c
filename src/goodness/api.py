"""Train, resume, evaluate and predict in one call each; the command line is built on these."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from goodness.analysis.diagnosis import diagnose
from goodness.analysis.explain import Explanation, explain
from goodness.config import Config, changed, resolve
from goodness.data import Dataset, Preprocessing, Split, Subset, open_data, open_split
from goodness.data.catalogue import GIVEN_NAMES
from goodness.data.folder import expanded
from goodness.data.given import Given, batch_size_of, kind_of
from goodness.data.locating import class_folders_in
from goodness.data.preprocessing import ImageLike
from goodness.devices import synchronize
from goodness.errors import InputError
from goodness.exits.records import Calibration, ExitReport
from goodness.files import file_name, write_json
from goodness.keywords import ConfigValues
from goodness.learning.learner import Learner
from goodness.network.build import build
from goodness.network.network import Network
from goodness.notes import note
from goodness.parallel.joining import join
from goodness.profiling.estimate import step_memory
from goodness.results import (
    BlockDiagnosis,
    BlockPrediction,
    DryRun,
    EarlyPrediction,
    Evaluation,
    Exported,
    Prediction,
    Result,
    Speed,
    macro_averages,
)
from goodness.sharing import folder as sharing
from goodness.sharing.folder import SharedFolder
from goodness.sharing.locating import is_name, locate
from goodness.training import batch_size
from goodness.training.callbacks import Callback, ChanceWarning, EarlyStopping
from goodness.training.classes import with_class_tree
from goodness.training.evaluation import evaluate, images_at_once
from goodness.training.lock import check_free
from goodness.training.machine import choose_device, set_machine
from goodness.training.ranks import Ranks
from goodness.training.run_folder import RunFolder
from goodness.training.trainer import Trainer

if TYPE_CHECKING:
    from goodness.export import Format

PREDICT_BATCH = 64
TIMED_PIXELS = 2**20
"""A step is timed on no more."""


class Run:
    """A trained network with its folder: a run's, whose best weights are taken, or a shared one's.

    Args:
        run: see `load`.
        device: where to compute.
        epoch: see `load`.

    Attributes:
        folder: the run folder, or the shared network's.
        name: what it was loaded by, e.g. ``"pretrained/mnist"``; of a folder its name.
        config: the resolved configuration.
        network: the blocks, with these weights.
        preprocessing: images to tensors, as the network was trained on them.
        classes: class names in the order of the scores.
        max_pixels: image files of more (height times width) are refused; the run's, and may be set.
    """

    def __init__(self, run: str | Path, device: str = "auto", epoch: int | None = None) -> None:
        path = locate(run)
        kept = _open(path, epoch)
        self.folder = kept.path
        self.name = str(run) if is_name(run) else path.absolute().name
        self.config = kept.read_config()
        self.preprocessing = kept.read_preprocessing()
        self.classes = self.preprocessing.classes
        network = _network(self.config, self.preprocessing, initial=False)
        self.network = network.to(choose_device(device))
        kept.load_weights(self.network)
        self.network.eval()
        self.max_pixels = self.config.max_pixels
        self._kept = kept

    @cached_property
    def result(self) -> Result | None:
        """The content of ``result.json``; None before the run has ended.

        Raises:
            InputError: it is damaged.
        """
        return self._kept.read_result()

    def save_pretrained(
        self, folder: str | Path, *, name: str | None = None, overwrite: bool = False
    ) -> Path:
        """Write the network alone, for others: weights, configuration, preprocessing, model card.

        It holds no code and nothing pickled, and no path of this machine. `goodness.load` reads it.

        Args:
            folder: made if it is not there.
            name: what loads it, for the card; None: the folder.
            overwrite: replace a network that was written there before.

        Returns:
            The folder.

        Raises:
            InputError: the folder holds something else, or the extra ``hub`` is not installed.
        """
        path = Path(folder)
        sharing.check_target(path, overwrite)
        sharing.write(self, path, name or path.name)
        return path

    def push_to_hub(self, repo: str, *, private: bool = False) -> str:
        """Put the network on the Hugging Face Hub, as `save_pretrained` writes it.

        Args:
            repo: ``USER/NAME``; made if it is not there.
            private: whether a new one is for its owner alone.

        Returns:
            Its address.

        Raises:
            InputError: the Hub cannot be reached or refuses, or the extra ``hub`` is not installed.
        """
        from goodness.sharing.hub import upload

        with TemporaryDirectory() as scratch:
            folder = self.save_pretrained(Path(scratch) / "network", name=f"hf:{repo}")
            return upload(folder, repo, private)

    @cached_property
    def calibration(self) -> Calibration | None:
        """What `calibrate` found of these weights; None before.

        Raises:
            InputError: ``exits.json`` is damaged.
        """
        found = self._kept.read_exits()
        if found is None or found.readout != self.network.readout:
            return None
        # A run goes on after it was calibrated; what is shared stays as it is.
        if isinstance(self._kept, RunFolder) and found.epoch != self._kept.weights_epoch():
            return None
        found.check(self.network.names, len(self.classes), f"'{self._kept.exits_file}'")
        return found

    def calibrate(
        self,
        *,
        data_root: str | Path | None = None,
        tolerance: float = 0.005,
        margin: float | None = None,
        support: int = 30,
        batch_size: int | None = None,
        skip_unreadable: bool | None = None,
    ) -> Calibration:
        """Temperatures and early exits, chosen on half of validation, measured on the other half.

        Writes ``exits.json``. See `goodness.exits` and arXiv 2509.08318.

        Args:
            data_root: as in `evaluate`.
            tolerance: the loss of accuracy that is allowed where exits are chosen, 0 to 1.
            margin: by how much an exit's precision on a class may be below the whole network's, -1
                to 1, or above it where it is negative; None: the one that saves most FLOPs within
                the tolerance.
            support: answers that a precision needs to count.
            batch_size: images at a time.
            skip_unreadable: as in `evaluate`.

        Raises:
            InputError: the last block alone has an answer, validation has too few images, or this
                is a shared network.
        """
        if not isinstance(self._kept, RunFolder):
            raise InputError(
                f"'{self.name}' is a shared network, without a folder for what calibration finds"
            )
        from goodness.exits.calibrate import calibrate

        for name, value, least in (("tolerance", tolerance, 0), ("margin", margin, -1)):
            if value is not None and not least <= value <= 1:
                raise InputError(f"{name}: a share from {least} to 1 is needed (got {value})")
        if support < 1:
            raise InputError(f"support: at least 1 is needed (got {support})")
        images = self._split(None, "val", data_root, skip_unreadable)
        self.calibration = calibrate(
            self.network,
            images,
            self.preprocessing,
            data=self.config.data,
            epoch=self._kept.weights_epoch(),
            tolerance=tolerance,
            margin=margin,
            support=support,
            batch_size=batch_size or images_at_once(images.image_shape),
        )
        self._kept.write_exits(self.calibration)
        return self.calibration

    def evaluate(
        self,
        data: str | Path | Given | None = None,
        *,
        split: str = "test",
        data_root: str | Path | None = None,
        batch_size: int | None = None,
        skip_unreadable: bool | None = None,
    ) -> Evaluation:
        """Accuracy on a split of the run's data, or of other images with the same classes.

        Args:
            data: a name, a folder or what a program has, see `goodness.open_data`, whose classes
                are matched by name; None takes the run's.
            split: ``"train"``, ``"val"`` or ``"test"``.
            data_root: where names are looked up.
            batch_size: images at a time; None: as many as need little memory.
            skip_unreadable: leave unreadable images out instead of refusing; None: as in the run.

        Raises:
            InputError: the data cannot be found or read, or has an unknown class.
        """
        name = self.config.data if data is None else data
        images = self._split(data, split, data_root, skip_unreadable)
        network = self.network
        size = batch_size or images_at_once(images.image_shape)
        counts = evaluate(network, images, self.preprocessing, batch_size=size)
        confusion = counts.confusion[network.readout].tolist()
        macro = macro_averages(confusion)
        return Evaluation(
            **vars(counts.result(network.readout)),
            data=str(name) if isinstance(name, str | Path) else kind_of(name),
            split=split,
            blocks=network.names,
            confusion=confusion,
            precision=macro.precision,
            recall=macro.recall,
            f1=macro.f1,
        )

    def evaluate_exits(
        self,
        data: str | Path | Given | None = None,
        *,
        split: str = "test",
        data_root: str | Path | None = None,
        batch_size: int | None = None,
        skip_unreadable: bool | None = None,
    ) -> ExitReport:
        """Early exits on a split of the run's data, or of other images with the same classes.

        Args:
            data: as in `evaluate`.
            split: as in `evaluate`.
            data_root: as in `evaluate`.
            batch_size: as in `evaluate`.
            skip_unreadable: as in `evaluate`.

        Raises:
            InputError: as in `evaluate`; or the run is not calibrated.
        """
        from goodness.exits.calibrate import measure

        name = self.config.data if data is None else data
        images = self._split(data, split, data_root, skip_unreadable)
        return measure(
            self.network,
            images,
            self.preprocessing,
            self._calibrated().exits,
            data=str(name) if isinstance(name, str | Path) else kind_of(name),
            name=split,
            batch_size=batch_size or images_at_once(images.image_shape),
        )

    def _calibrated(self) -> Calibration:
        if self.calibration is None and not isinstance(self._kept, RunFolder):
            raise InputError(
                f"'{self.name}' was shared without calibrated exits; calibrate the run and push it"
                " again"
            )
        if self.calibration is None:
            raise InputError(
                f"'{self.folder}' has no exits for its best weights: run goodness calibrate"
                f" {self.folder} first"
            )
        return self.calibration

    def diagnose(
        self,
        data: str | Path | Given | None = None,
        *,
        split: str = "val",
        data_root: str | Path | None = None,
        examples: int = 512,
        skip_unreadable: bool | None = None,
    ) -> list[BlockDiagnosis]:
        """What every block has learnt and is taught; see `goodness.diagnose`.

        Args:
            data: as in `evaluate`.
            split: ``"train"``, ``"val"`` or ``"test"``.
            data_root: where names are looked up.
            examples: images to look at, the first ones of the split.
            skip_unreadable: as in `evaluate`.

        Raises:
            InputError: as in `evaluate`.
        """
        images = self._split(data, split, data_root, skip_unreadable)
        count = min(examples, len(images))
        pixels, y = next(images.batches(count, self.network.device))
        return diagnose(self.network, self.preprocessing.apply(pixels), y)

    def report(
        self,
        path: str | Path,
        data: str | Path | Given | None = None,
        *,
        split: str = "test",
        data_root: str | Path | None = None,
        batch_size: int | None = None,
        skip_unreadable: bool | None = None,
    ) -> Path:
        """Write one page of HTML about the network, which needs no other file and no network.

        What there is nothing to tell of, such as the answers where the run's own data is not
        found, is left out, and the page says so.

        Args:
            path: the file to write, replaced if it is there.
            data: as in `evaluate`.
            split: as in `evaluate`.
            data_root: as in `evaluate`.
            batch_size: as in `evaluate`.
            skip_unreadable: as in `evaluate`.

        Returns:
            The file.

        Raises:
            InputError: the file cannot be written, or other images than the run's cannot be read.
        """
        from goodness.reports.page import write_page

        name = self.config.data if data is None else data
        images: Split | str
        try:
            images = self._split(data, split, data_root, skip_unreadable)
        except InputError as error:
            if data is not None or split not in ("train", "val", "test"):
                raise
            images = str(error)
            note(f"the page tells nothing about images: {images}")
        title = str(name) if isinstance(name, str | Path) else kind_of(name)
        return write_page(self, Path(path), images, data=title, split=split, batch_size=batch_size)

    def _split(
        self,
        data: str | Path | Given | None,
        split: str,
        data_root: str | Path | None,
        skip_unreadable: bool | None,
    ) -> Split:
        """A part of the run's data, or of other images."""
        config, own = self.config, data is None
        return open_split(
            config.data if data is None else data,
            split,
            self.preprocessing,
            data_root=data_root or config.data_root,
            val_fraction=config.val_fraction,
            skip_unreadable=config.skip_unreadable if skip_unreadable is None else skip_unreadable,
            whole=not own,
            subset=_subset(config) if own else Subset(),
            max_pixels=self.max_pixels,
        )

    def predict(
        self, images: ImageLike | Iterable[ImageLike], *, skip_unreadable: bool = False
    ) -> list[Prediction]:
        """Classify images of any size.

        Args:
            images: files, folders and patterns such as ``"photos/*.jpg"``; Pillow images, arrays
                and tensors, one by one or in one batch, as `Preprocessing` takes them.
            skip_unreadable: leave files that cannot be read out instead of refusing.

        Returns:
            One prediction per image, in order.

        Raises:
            InputError: a file is missing, corrupt or no image, or a tensor has another shape.
        """
        return list(self.predict_iter(images, skip_unreadable=skip_unreadable))

    def predict_iter(
        self, images: ImageLike | Iterable[ImageLike], *, skip_unreadable: bool = False
    ) -> Iterator[Prediction]:
        """What `predict` gives, one after another, for more images than memory should hold."""
        names = self.network.names
        temperature = 1.0 if self.calibration is None else self.calibration.exits[-1].temperature
        for titles, batch in self._batches(images, skip_unreadable):
            found = self.network.evaluate(batch)
            own = [self._answers(scores, len(titles)) for scores in found.blocks]
            final = found.final(self.network.readout) / temperature
            for title, (class_name, index, probability), *others in zip(
                titles, self._answers(final, len(titles)), *own, strict=True
            ):
                named = zip(names, others, strict=True)
                blocks = [BlockPrediction(name, block[0], block[2]) for name, block in named]
                yield Prediction(title, class_name, index, probability, blocks)

    def predict_early(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        threshold: float | None = None,
        skip_unreadable: bool = False,
    ) -> list[EarlyPrediction]:
        """Classify images, each behind the first block that is sure enough.

        Args:
            images: as in `predict`.
            threshold: one confidence for all exits and classes, in place of the calibrated ones.
            skip_unreadable: as in `predict`.

        Raises:
            InputError: as in `predict`; or the run is not calibrated.
        """
        early = self.predict_early_iter(
            images, threshold=threshold, skip_unreadable=skip_unreadable
        )
        return list(early)

    def predict_early_iter(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        threshold: float | None = None,
        skip_unreadable: bool = False,
    ) -> Iterator[EarlyPrediction]:
        """What `predict_early` gives, one after another."""
        from goodness.exits.calibrate import exits_of
        from goodness.exits.passage import answer_early

        if threshold is not None and not 0 <= threshold <= 1:
            raise InputError(f"threshold: a confidence from 0 to 1 is needed (got {threshold})")
        names = self.network.names
        exits = exits_of(self._calibrated().exits, self.network.device, threshold)
        for titles, batch in self._batches(images, skip_unreadable):
            found = answer_early(self.network, batch, exits)
            answers = self._answers(found.scores, len(titles))
            for title, answer, left in zip(titles, answers, found.left.tolist(), strict=True):
                yield EarlyPrediction(title, *answer, exit=names[left], depth=left + 1)

    def _batches(
        self, images: ImageLike | Iterable[ImageLike], skip_unreadable: bool
    ) -> Iterator[tuple[list[str], Tensor]]:
        """Names of images that can be read, and their pixels (n, C, H, W), some at a time."""
        preprocessing = self.preprocessing
        shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
        size = images_at_once(shape, PREDICT_BATCH)
        named = expanded(preprocessing.listed(images))
        while batch := list(islice(named, size)):
            loaded = [(name, self._pixels(image, skip_unreadable)) for name, image in batch]
            part = [(name, pixels) for name, pixels in loaded if pixels is not None]
            if part:
                yield [name for name, _ in part], preprocessing([pixels for _, pixels in part])

    def explain(self, image: ImageLike) -> Explanation:
        """What each block has seen in an image; see `goodness.explain`.

        Args:
            image: a file, a Pillow image, or uint8 (C, H, W) of the network's size.
        """
        pixels = self.preprocessing.load(image, self.max_pixels)
        return explain(self.network, self.preprocessing(pixels)[0])

    def export(
        self,
        format: Format = "safetensors",
        out: str | Path | None = None,
        *,
        readout: str | None = None,
        exits: bool = False,
        with_preprocessing: bool = False,
        int8: bool = False,
        train: bool = False,
        batch: int | None = None,
        overwrite: bool = False,
        data_root: str | Path | None = None,
    ) -> Exported:
        """Write the network for other programs; in full precision, whatever it was trained in.

        A program's input is ``images`` (N, C, H, W), N any number; its output ``scores`` (N, K).
        Methods that ask about every class have their K questions per image in the graph. Class
        names, mean, deviation and the readout are in the file, as JSON.

        Args:
            format: ``"safetensors"``: the weights of the model that was cut, by its own names;
                ``"torch"``: a program for `torch.export.load`, whose scores are the network's bit
                for bit; ``"onnx"``: an ONNX model; ``"executorch"``: a program with planned
                memory for phones and boards, for a fixed batch.
            out: the file; None writes ``model.*`` into the run folder. With ``train`` a folder;
                None: ``device`` in the run folder. Shared networks need one.
            readout: which readout answers; None takes the network's.
            exits: a second output ``exits`` (N, B, K), the scores after every block.
            with_preprocessing: take uint8 pixels instead of preprocessed float32 images.
            int8: make an ONNX model's convolutions and matrix products 8-bit, calibrated on
                training images, and measure the test accuracy before and after.
            train: write an ExecuTorch program per block that gives its loss and gradients, and
                ``plan.json``; see `goodness.export.device.DeviceLearner`.
            batch: images that an ExecuTorch program takes, 1 by default.
            overwrite: replace what an export has written there before.
            data_root: where the run's data is looked up, for ``int8``.

        Raises:
            InputError: an option that the format does not take, a missing package, no such
                readout, a file that cannot be written or is there already, or a method whose step
                needs an operator that ExecuTorch lacks.
        """
        from goodness.export import export

        return export(
            self,
            format,
            out,
            readout=readout,
            exits=exits,
            with_preprocessing=with_preprocessing,
            int8=int8,
            train=train,
            batch=batch,
            overwrite=overwrite,
            split=lambda part: self._split(None, part, data_root, None),
        )

    def _pixels(self, image: ImageLike, skip_unreadable: bool) -> Tensor | None:
        """An image; None where it cannot be read."""
        try:
            return self.preprocessing.load(image, self.max_pixels)
        except InputError:
            if skip_unreadable:
                return None
            raise

    def _answers(self, scores: Tensor | None, count: int) -> list[tuple[Any, Any, Any]]:
        """Per image its class, the class's number and its probability, for scores (N, K)."""
        if scores is None:
            return [(None, None, None)] * count
        probabilities, indices = scores.float().softmax(1).max(1)
        each = zip(indices.tolist(), probabilities.tolist(), strict=True)
        return [(self.classes[index], index, probability) for index, probability in each]


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
        trainer = _prepare(
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
        trainer = _prepare(config, ranks, run if begun else None, followers, data)
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
    trainer = _prepare(
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
        seconds_per_epoch=_time_step(trainer) * trainer.steps_per_epoch,
        cache_bytes=None if trainer.cache is None else trainer.cache.peak_bytes(),
        image_bytes=trainer.dataset.memory_bytes,
        step_bytes=None if memory is None else memory.of(config.batch_size),
    )


def measure(config: Mapping[str, Any]) -> Speed:
    """How fast a configuration trains on this machine, from a few steps on its own data.

    Args:
        config: a resolved configuration's keys.
    """
    resolved = resolve(config)
    trainer = _prepare(resolved, Ranks(set_machine(resolved.device, resolved.num_threads)))
    step = _time_step(trainer, 8)
    part = min(len(trainer.dataset.val), 512)
    pixels, _ = next(trainer.dataset.val.batches(part, trainer.network.device))
    images = trainer.dataset.preprocessing.apply(pixels)
    trainer.network.evaluate(images[:8])  # the first call also sets things up
    started = time.perf_counter()
    trainer.network.evaluate(images)
    asked = time.perf_counter()
    trainer.statistics()
    measured = time.perf_counter()
    return Speed(
        step=step,
        validation=(asked - started) / part * len(trainer.dataset.val) + measured - asked,
        steps_per_epoch=trainer.steps_per_epoch,
        learns=bool(trainer.learner.optimizers.keys() - trainer.network.readouts.keys()),
    )


def _prepare(
    config: Config,
    ranks: Ranks,
    run: RunFolder | None = None,
    callbacks: Sequence[Callback] = (),
    data: Given | None = None,
    default_batch: bool = False,
) -> Trainer:
    """The loop of a configuration, with its data read and its network on the ranks' device.

    Args:
        config: its ``batch_size`` may be lowered, see ``default_batch``.
        ranks: the processes.
        run: a run to be resumed.
        callbacks: of the loop.
        data: what a program gave; None: the configuration names it.
        default_batch: whether nobody has chosen the batch size, so that few images may lower it.
    """
    dataset = open_data(
        config.data if data is None else data,
        config.data_root,
        config.image_size,
        config.val_fraction,
        config.skip_unreadable,
        _subset(config),
        config.max_pixels,
    )
    config = with_class_tree(config, dataset.train, len(dataset.classes))
    if default_batch:
        config = batch_size.filled(config, len(dataset.train))
    made = _trainer(config, dataset, run, callbacks, ranks)
    if default_batch and (config := batch_size.in_memory(made)) != made.config:
        made = _trainer(config, dataset, run, callbacks, ranks)
    return made


def _trainer(
    config: Config,
    dataset: Dataset,
    run: RunFolder | None,
    callbacks: Sequence[Callback],
    ranks: Ranks,
) -> Trainer:
    network = _network(config, dataset.preprocessing, initial=run is None)
    return Trainer(dataset, network.to(ranks.device), run, callbacks, ranks)


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


def _time_step(trainer: Trainer, steps: int = 4) -> float:
    """Seconds per training step on real images, told from a few; the first is not counted."""
    trainer.initialize()
    learner = Learner(trainer.network, run=trainer.clock)
    batch, (_, height, width) = trainer.config.batch_size, trainer.dataset.train.image_shape
    # Of large images a part of the batch: a step takes as long per image.
    size = min(batch, max(batch_size.LEAST_BATCH, TIMED_PIXELS // (height * width)))
    device = trainer.network.device
    images, y = next(trainer.dataset.train.batches(size, device, order=torch.arange(size)))
    started = 0.0
    for step in range(steps):
        if step == 1:
            started = time.perf_counter()
        # Spread over the run: other steps may train other blocks.
        place = step * trainer.steps_per_epoch * trainer.epochs // steps
        first = 0
        if trainer.cache is not None and (first := trainer.cache.stage(place).depth):
            examples = trainer.cache.example(first, len(y)), y
        else:
            examples = trainer.mixed(trainer.prepare(images), y)
        learner.steps = place
        learner.step(*examples, first)
        synchronize(device)
    return (time.perf_counter() - started) / (steps - 1) * batch / size


def _open(path: Path, epoch: int | None) -> RunFolder | SharedFolder:
    """The folder of a network; an epoch is for runs, which may keep several."""
    if not SharedFolder.holds(path):
        return RunFolder.open(path, epoch).answering()
    if epoch is not None:
        raise InputError(f"'{path}' is a shared network, which has one state: no epoch {epoch}")
    return SharedFolder(path)


def _network(config: Config, preprocessing: Preprocessing, initial: bool) -> Network:
    shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
    classes = len(preprocessing.classes)
    return build(config, image_shape=shape, num_classes=classes, initial=initial)


def _subset(config: Config) -> Subset:
    return Subset(config.class_names, config.per_class, config.seed)


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

    write_json(run.environment_file, environment(command, device))
