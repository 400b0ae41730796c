"""Train, resume, evaluate and predict in one call each; the command line is built on these."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from goodness.analysis.diagnosis import diagnose
from goodness.analysis.explain import Explanation, explain
from goodness.config import Config, changed, resolve
from goodness.data import Preprocessing, Split, Subset, open_data, open_split
from goodness.data.preprocessing import ImageLike
from goodness.errors import InputError
from goodness.files import write_json
from goodness.keywords import ConfigValues
from goodness.learning.learner import Learner
from goodness.network.build import build
from goodness.network.network import Network
from goodness.parallel.joining import join
from goodness.results import (
    BlockDiagnosis,
    BlockPrediction,
    DryRun,
    Evaluation,
    Exported,
    Prediction,
    Speed,
)
from goodness.training import checkpoint
from goodness.training.callbacks import Callback, ChanceWarning
from goodness.training.evaluation import evaluate
from goodness.training.machine import choose_device, set_machine
from goodness.training.ranks import Ranks
from goodness.training.run_folder import RunFolder
from goodness.training.trainer import Trainer

if TYPE_CHECKING:
    from goodness.export import Format

PREDICT_BATCH = 64


class Run:
    """A trained network with its run folder, loaded from the best checkpoint.

    Attributes:
        folder: the run folder.
        config: the resolved configuration.
        network: the blocks, with the best weights.
        preprocessing: images to tensors, as the network was trained on them.
        classes: class names in the order of the scores.
        result: the content of ``result.json``; None before the run has ended.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        run = RunFolder.open(folder)
        self.folder = run.path
        self.config = run.read_config()
        best = run.best_checkpoint()
        meta, _ = checkpoint.load(best, needs=checkpoint.META_KEYS)
        self.preprocessing = Preprocessing.model_validate(
            {"normalize": self.config.normalize, **meta["preprocessing"]}
        )
        self.classes = self.preprocessing.classes
        network = _network(self.config, self.preprocessing, initial=False)
        self.network = network.to(choose_device(device))
        checkpoint.load_network(best, self.network)
        self.network.readout = meta["best"]["readout"]
        self.network.eval()
        self.result = run.read_result()

    def evaluate(
        self,
        data: str | Path | None = None,
        *,
        split: str = "test",
        data_root: str | Path | None = None,
        batch_size: int = 256,
        skip_unreadable: bool | None = None,
    ) -> Evaluation:
        """Accuracy on a split of the run's data, or of other images with the same classes.

        Args:
            data: a name or a folder, whose classes are matched by name; None takes the run's.
            split: ``"train"``, ``"val"`` or ``"test"``.
            data_root: where names are looked up.
            batch_size: images at a time.
            skip_unreadable: leave unreadable images out instead of refusing; None: as in the run.

        Raises:
            InputError: the data cannot be found or read, or has an unknown class.
        """
        name = self.config.data if data is None else data
        images = self._split(data, split, data_root, skip_unreadable)
        network = self.network
        counts = evaluate(network, images, self.preprocessing, batch_size=batch_size)
        return Evaluation(
            **vars(counts.result(network.readout)),
            data=str(name),
            split=split,
            blocks=network.names,
            confusion=counts.confusion[network.readout].tolist(),
        )

    def diagnose(
        self,
        data: str | Path | None = None,
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

    def _split(
        self,
        data: str | Path | None,
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
        )

    def predict(
        self, paths: Iterable[str | Path], *, skip_unreadable: bool = False
    ) -> list[Prediction]:
        """Classify image files of any size.

        Args:
            paths: the files.
            skip_unreadable: leave files that cannot be read out instead of refusing.

        Returns:
            One prediction per file, in order.

        Raises:
            InputError: a file is missing, corrupt or no image.
        """
        files = [Path(path) for path in paths]
        names, predictions = self.network.names, []
        for start in range(0, len(files), PREDICT_BATCH):
            batch = files[start : start + PREDICT_BATCH]
            loaded = [(path, self._pixels(path, skip_unreadable)) for path in batch]
            part = [path for path, pixels in loaded if pixels is not None]
            if not part:
                continue
            images = [pixels for _, pixels in loaded if pixels is not None]
            found = self.network.evaluate(self.preprocessing(images))
            own = [self._answers(scores, len(part)) for scores in found.blocks]
            final = self._answers(found.final(self.network.readout), len(part))
            for path, (class_name, index, probability), *others in zip(
                part, final, *own, strict=True
            ):
                named = zip(names, others, strict=True)
                blocks = [BlockPrediction(name, block[0], block[2]) for name, block in named]
                predictions.append(Prediction(str(path), class_name, index, probability, blocks))
        return predictions

    def explain(self, image: ImageLike) -> Explanation:
        """What each block has seen in an image; see `goodness.explain`.

        Args:
            image: a file, a Pillow image, or uint8 (C, H, W) of the network's size.
        """
        return explain(self.network, self.preprocessing(image)[0])

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
                None: ``device`` in the run folder.
            readout: which readout answers; None takes the network's.
            exits: a second output ``exits`` (N, B, K), the scores after every block.
            with_preprocessing: take uint8 pixels instead of preprocessed float32 images.
            int8: make an ONNX model's convolutions and matrix products 8-bit, calibrated on
                training images, and measure the test accuracy before and after.
            train: write an ExecuTorch program per block that gives its loss and gradients, and
                ``plan.json``; see `goodness.export.device.DeviceLearner`.
            batch: images that an ExecuTorch program takes, 1 by default.
            data_root: where the run's data is looked up, for ``int8``.

        Raises:
            InputError: an option that the format does not take, a missing package, no such
                readout, a file that cannot be written, or a method whose step needs an operator
                that ExecuTorch lacks.
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
            split=lambda part: self._split(None, part, data_root, None),
        )

    def _pixels(self, path: Path, skip_unreadable: bool) -> Tensor | None:
        """An image; None where it cannot be read."""
        try:
            return self.preprocessing.load(path)
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
    data: str | Path | None = None,
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
        data: a name or a folder of images, see `goodness.data.open_data`; None: the recipe's, or
            the embedded digits.
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
    config = resolve({**values, "data": _data(data), "method": method})
    with join(config) as ranks:
        if ranks.is_leader and out is not None:
            # Checked before the data is read, which may take long.
            RunFolder.check(out, overwrite)
        trainer = _prepare(config, ranks, callbacks=_followers(ranks, callbacks))
        folder = Path()
        if ranks.is_leader:
            folder = _new_folder(config) if out is None else RunFolder.create(out, overwrite).path
            run = RunFolder(folder)
            run.write_config(config)
            _write_environment(run, command, ranks.device)
        trainer.run = RunFolder(ranks.broadcast(folder))
        ranks.set_run(trainer.run)
        trainer.fit()
        return Run(trainer.run.path, device=str(ranks.device))


def resume(
    run_folder: str | Path,
    *,
    epochs: int | None = None,
    device: str | None = None,
    parallel: str | None = None,
    num_workers: int | None = None,
    num_threads: int | None = None,
    feature_cache: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Go on with a run from its last checkpoint, exactly as if it had never stopped.

    Args:
        run_folder: the run.
        epochs: another length for the whole run; rates follow it from here on.
        device: another device.
        parallel: another way to share the work among processes; their number may change too.
        num_workers: another number of processes that decode images.
        num_threads: another number of CPU threads.
        feature_cache: another folder for features.
        callbacks: as in `fit`.

    Raises:
        InputError: there is no run, nothing left to do, or the checkpoint does not fit.
    """
    run = RunFolder.open(run_folder)
    changes = {
        **{"epochs": epochs, "device": device, "parallel": parallel, "num_workers": num_workers},
        **{"num_threads": num_threads, "feature_cache": feature_cache},
    }
    config = changed(run.read_config(), changes)
    if not run.has_checkpoint():
        raise InputError(
            f"'{run.path}' has no checkpoint yet: start again with --overwrite --out {run.path}"
        )
    with join(config) as ranks:
        trainer = _prepare(config, ranks, run, _followers(ranks, callbacks))
        ranks.set_run(run)
        trainer.restore()
        if ranks.broadcast(trainer.epoch >= config.epochs and run.result_file.is_file()):
            raise InputError(
                f"'{run.path}' has finished, with epoch {trainer.epoch}; give more with --epochs"
            )
        if ranks.is_leader:
            run.write_config(config)
        trainer.fit()
        return Run(run.path, device=str(ranks.device))


def load(run_folder: str | Path, device: str = "auto") -> Run:
    """A finished or stopped run, with the weights that were best on validation."""
    return Run(run_folder, device)


def dry_run(
    data: str | Path | None = None,
    *,
    method: str | None = None,
    **values: Unpack[ConfigValues],
) -> DryRun:
    """What `fit` would do, without doing it; the arguments are those of `fit`.

    Raises:
        InputError: as `fit` does.
    """
    config = resolve({**values, "data": _data(data), "method": method})
    trainer = _prepare(config, Ranks(set_machine(config.device, config.num_threads)))
    network = trainer.network
    return DryRun(
        config=config.model_dump(mode="json"),
        blocks=network.facts(),
        parameters=sum(p.numel() for p in network.parameters()),
        train_examples=len(trainer.dataset.train),
        epochs=config.epochs,
        seconds_per_epoch=_time_step(trainer) * trainer.steps_per_epoch,
        cache_bytes=None if trainer.cache is None else trainer.cache.peak_bytes(),
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
) -> Trainer:
    """The loop of a configuration, with its data read and its network on the ranks' device."""
    dataset = open_data(
        config.data,
        config.data_root,
        config.image_size,
        config.val_fraction,
        config.skip_unreadable,
        _subset(config),
    )
    network = _network(config, dataset.preprocessing, initial=run is None)
    return Trainer(dataset, network.to(ranks.device), run, callbacks, ranks)


def _data(data: str | Path | None) -> str | None:
    """A name or folder as text; a `Path` is a folder, even one called "mnist"."""
    return str(data.absolute()) if isinstance(data, Path) else data


def _time_step(trainer: Trainer, steps: int = 4) -> float:
    """Seconds per training step on real images; the first step is not counted."""
    trainer.initialize()
    learner = Learner(trainer.network, run=trainer.clock)
    order = torch.arange(trainer.config.batch_size)
    device = trainer.network.device
    images, y = next(trainer.dataset.train.batches(trainer.config.batch_size, device, order=order))
    started = 0.0
    for step in range(steps):
        if step == 1:
            started = time.perf_counter()
        # Spread over the run: other steps may train other blocks.
        place = step * trainer.steps_per_epoch * trainer.epochs // steps
        first = 0
        if trainer.cache is not None and (first := trainer.cache.stage(place).depth):
            x = trainer.cache.example(first, len(y))
        else:
            x = trainer.prepare(images)
        learner.steps = place
        learner.step(x, y, first)
        if device.type == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - started) / (steps - 1)


def _network(config: Config, preprocessing: Preprocessing, initial: bool) -> Network:
    shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
    classes = len(preprocessing.classes)
    return build(config, image_shape=shape, num_classes=classes, initial=initial)


def _subset(config: Config) -> Subset:
    return Subset(config.class_names, config.per_class, config.seed)


def _new_folder(config: Config) -> Path:
    """An empty folder that is this run's alone, though others may begin in the same second."""
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    base = Path("runs") / f"{now}-{config.method}-{Path(config.data).name}"
    path, number = base, 1
    while True:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
            path = base.with_name(f"{base.name}-{number}")
        else:
            return path


def _followers(ranks: Ranks, callbacks: Sequence[Callback]) -> Sequence[Callback]:
    """The callbacks of the leading rank; the others have none, and need not import any."""
    return _with_reports(callbacks) if ranks.is_leader else ()


def _with_reports(callbacks: Sequence[Callback]) -> list[Callback]:
    from goodness.reports.curves import Curves
    from goodness.reports.tensorboard import TensorBoard

    return [Curves(), TensorBoard(), ChanceWarning(), *callbacks]


def _write_environment(run: RunFolder, command: str | None, device: torch.device) -> None:
    from goodness.reports.environment import environment

    write_json(run.environment_file, environment(command, device))
