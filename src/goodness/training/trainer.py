from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from goodness.checks import check_run
from goodness.clock import Clock
from goodness.data import Augmentation, Dataset, Split
from goodness.data.augmentation import Flips
from goodness.data.fingerprint import Fingerprint, changes
from goodness.data.mixing import Mixing
from goodness.errors import Diverged, InputError, Interrupted
from goodness.learning.learner import CHECK_STEPS
from goodness.network.network import Network
from goodness.notes import note
from goodness.results import (
    SCHEMA,
    Best,
    EpochRow,
    EpochTraining,
    EpochValidation,
    Result,
    SplitResult,
    Status,
    TrainFigures,
    standard_error,
)
from goodness.seeds import mix, permutation, seed_generators
from goodness.training import checkpoint
from goodness.training.attention import attention, check_attention
from goodness.training.callbacks import Callback
from goodness.training.energy import EnergyMeter
from goodness.training.epoch_metrics import EpochMetrics
from goodness.training.evaluation import Counts, evaluate, images_at_once
from goodness.training.feature_cache import FeatureCache, Features, Stage
from goodness.training.machine import peak_memory
from goodness.training.ranks import CONTINUE, SAVE, Ranks, State
from goodness.training.recalibration import holding, recalibrated
from goodness.training.run_folder import RunFolder
from goodness.training.sampling import balanced_weights, epoch_order, pass_number
from goodness.training.throughput import Throughput

WHITENED_IMAGES = 5000
"""Of so many training images, at most, a first layer whitens the patches."""


class Trainer:
    """Trains a network epoch by epoch, validates it, keeps the best, and tests it once.

    Args:
        dataset: images in three splits.
        network: on its device; its configuration rules.
        run: where results and checkpoints go; None keeps nothing.
        callbacks: told of every step and epoch, in order.
        ranks: the processes that train the network together; None: this one alone.
    """

    def __init__(
        self,
        dataset: Dataset,
        network: Network,
        run: RunFolder | None = None,
        callbacks: Sequence[Callback] = (),
        ranks: Ranks | None = None,
    ) -> None:
        config = network.config
        self.config = config
        self.dataset = dataset = dataset.normalized(config.normalize)
        self.network = network
        self.run = run
        self.callbacks = list(callbacks)
        self.ranks = Ranks(network.device) if ranks is None else ranks
        self.ranks.request = self._request
        self.augment = Augmentation(config.augment, dataset.train.image_shape)
        self._flips: Flips | None = None
        if config.augment.flip == "alternate":
            self._flips = Flips(len(dataset.train), mix(config.seed, "flips"))
        self._mixing: Mixing | None = None
        if config.augment.mixing:
            shape, classes = dataset.train.image_shape, len(dataset.classes)
            self._mixing = Mixing(config.augment, shape, classes, config.seed, self._attention)
            if "attentive_cutmix" in config.augment.mixing:
                check_attention(network)
        self.epochs = config.epochs
        self.steps_per_epoch = config.steps_per_epoch or len(dataset.train) // config.batch_size
        check_run(config, len(dataset.train), self.epochs * self.steps_per_epoch)
        length = Clock(0, self.steps_per_epoch, self.epochs)
        self.class_weights: Tensor | None = None
        """(K,), those that only the data tells."""
        if config.class_weights == "balanced":
            self.class_weights = balanced_weights(dataset.train.labels, len(dataset.classes))
        self.learner = self.ranks.learner(network, self.class_weights, length)
        self.block_names = network.names
        self.history: list[EpochRow] = []
        self._lines: list[str] = []
        """The history as ``metrics.jsonl`` has it."""
        self.best = Best()
        self.stop = False
        """A callback sets this to end the run after the epoch."""
        self.interrupted: int | None = None
        """A signal handler sets this to save and end the run after the step."""
        self._meter: EnergyMeter | None = None
        self._throughput = Throughput(network.device, config.batch_size, CHECK_STEPS)
        self._saved_at = time.perf_counter()
        self._totals = EpochMetrics(len(network), network.device)
        self._evaluated = self.learner.final_network
        self.cache: FeatureCache | None = None
        """Keeps the features of finished blocks, if the configuration says so."""
        if config.feature_cache is not None:
            if self.ranks.count > 1:
                raise InputError(
                    "feature_cache: ranks keep no features (leave out --feature-cache or"
                    " --parallel)"
                )
            self.cache = FeatureCache(config.feature_cache, network, dataset, self.clock)
            if run is None or not run.has_checkpoint():
                self.cache.check_space()

    @property
    def step(self) -> int:
        """Steps done."""
        return self.learner.steps

    @property
    def epoch(self) -> int:
        """The current epoch, counted from 0."""
        return self.clock.epoch

    @property
    def clock(self) -> Clock:
        """Steps done and the length of the run."""
        return self.learner.clock

    def learning_rate(self, step: int) -> float:
        """The optimizers' rate at a step of the run, without factors of single blocks."""
        lr: float = self.config.optimizer["lr"]
        return lr * self.learner.lr_factor(self.clock._replace(step=step))

    def status(self) -> Status:
        """The state of this moment for a display; waits for the device."""
        rate = self._throughput.images_per_second
        left = self.epochs * self.steps_per_epoch - self.step
        eta = None if rate is None else left * self.config.batch_size / rate
        return Status(self._totals.read(self.block_names), rate, eta)

    def fit(self) -> Result:
        """Train to the end.

        Raises:
            RunError: a loss or weight is not finite.
            OSError: the disk is full, say; the last checkpoint is kept.
            Interrupted: a signal came; the state is saved.
        """
        with ExitStack() as closing:
            for callback in self.callbacks:
                closing.callback(callback.on_close, self)
                callback.on_start(self)
            self._throughput.start()
            # Nobody keeps count of what a run used before it was interrupted, or on other ranks.
            counted = self.step == 0 and self.ranks.count == 1
            self._meter = EnergyMeter(self.network.device) if counted else None
            return self._train_and_test()

    def initialize(self) -> None:
        """Let a first layer that whitens see training images, the same ones on all ranks."""
        self.learner.initialize(self._some_images())

    def _some_images(self) -> Iterator[Tensor]:
        """Training images drawn by the seed, preprocessed, without augmentation."""
        train, config = self.dataset.train, self.config
        order = permutation(len(train), mix(config.seed, "whitening"))[:WHITENED_IMAGES]
        for pixels, _ in train.batches(
            config.batch_size, self.network.device, order=order, num_workers=config.num_workers
        ):
            yield self.dataset.preprocessing.apply(pixels)

    def _train_and_test(self) -> Result:
        self.initialize()
        self.stop = self.ranks.broadcast(self.stop)
        while self.epoch < self.epochs and not self.stop:
            self._train_epoch()
            state = self._gather()
            totals, self._totals = self._totals, EpochMetrics(len(self.network), self.ranks.device)
            if self.ranks.is_leader:
                self._validate(state, totals)
            self.stop, self.interrupted = self.ranks.broadcast((self.stop, self.interrupted))
            if self.interrupted is not None and self.epoch < self.epochs and not self.stop:
                raise self._interruption()
        if self.cache is not None:
            self.cache.drop()
        result = self.ranks.broadcast(self._test() if self.ranks.is_leader else None)
        assert result is not None
        for callback in self.callbacks:
            callback.on_end(self, result)
        return result

    def _train_epoch(self) -> None:
        config, start = self.config, self.epoch * self.steps_per_epoch
        end = start + self.steps_per_epoch
        order = epoch_order(
            len(self.dataset.train), config.batch_size, end - start, self.epoch, config.seed
        )
        self._throughput.begin(self.step)
        for stage in [Stage(0, start, end)] if self.cache is None else self.cache.stages:
            if (stop := min(stage.stop, end)) <= self.step:
                continue  # done, or of a later epoch
            rows = order[: (stop - start) * config.batch_size]
            for x, labels in self._batches(stage.depth, rows, self.step - start):
                self._train_step(x, labels, stage.depth)
        self._check_weights()

    def _train_step(self, x: Tensor, labels: Tensor, depth: int) -> None:
        """Learn from rows that enter block ``depth``; what is asked for in between is done."""
        step = self.step
        self._throughput.data_ready(step)
        with self._saying_what_is_kept():
            result = self.learner.step(x, labels, depth)
        self._totals.add(result, labels)
        self._throughput.end(step)
        if self._meter is not None:
            self._meter.watch()
        for callback in self.callbacks:
            callback.on_step(self)
        decision = self.ranks.decide()
        if decision != CONTINUE and self.step % self.steps_per_epoch:
            state = self._gather()
            if self.ranks.is_leader:
                self._save_last(state)
            if decision != SAVE:
                self.interrupted = decision
                raise self._interruption()
        self._throughput.begin(self.step)

    def _request(self) -> int:
        """What is to be done after this step."""
        if self.interrupted is not None:
            return self.interrupted
        since = time.perf_counter() - self._saved_at
        due = self.run is not None and since > self.config.checkpoint.every_seconds
        return SAVE if due else CONTINUE

    def _gather(self) -> State:
        with self._saying_what_is_kept():
            self.learner.check_finite()
        return self.ranks.gather(self.learner, self._totals)

    def _batches(self, depth: int, order: Tensor, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's share of batches: rows that enter block ``depth``, and their labels.

        Args:
            depth: 0 for images.
            order: the rows of the epoch.
            start: batches that are left out.
        """
        size, device, train = self.config.batch_size, self.network.device, self.dataset.train
        if not self.ranks.reads_images:
            # On this device any use of an image is an error.
            nothing = torch.empty(size, *train.image_shape, device="meta")
            for labels in train.label_batches(size, device, order=order, start=start):
                yield self.mixed(nothing, labels)
            return
        workers = self.config.num_workers
        batches = self._source(depth).batches(
            size, device, order=order, start=start, num_workers=workers
        )
        for (x, labels), rows in zip(batches, order[start * size :].split(size), strict=True):
            batch = (x, labels) if depth else self.mixed(self.prepare(x, rows), labels)
            yield self.ranks.share(*batch)

    def _source(self, depth: int) -> Split | Features:
        """The images, or what so many finished blocks send on for them."""
        if self.cache is None:
            return self.dataset.train
        if depth == 0:
            self.cache.drop()
            return self.dataset.train
        features = self.cache.open(depth, self._stop_if_asked)
        self.learner.forget(depth)
        if self.step % self.steps_per_epoch:
            # A run resumed from further back would need the earlier features.
            self._save_last(self._gather())
        self.cache.drop(but=depth)
        return features

    def _stop_if_asked(self) -> None:
        """Save and end where a signal has come."""
        if self.interrupted is not None:
            self._save_last(self._gather())
            raise self._interruption()

    def prepare(self, images: Tensor, rows: Tensor | None = None) -> Tensor:
        """Augmented and normalised images; the draws belong to (seed, step).

        Args:
            images: uint8 (N, C, H, W).
            rows: int64 (N,), which training images they are; None: any, mirrored at random.
        """
        config, mirrored = self.config, None
        if self._flips is not None and rows is not None:
            number = pass_number(len(self.dataset.train), config.batch_size, self.step)
            mirrored = self._flips.at(rows, number)
        seed_generators(images.device, mix(config.seed, "augment", self.step))
        preprocessing = self.dataset.preprocessing
        return preprocessing.normalized(self.augment(preprocessing.scaled(images), mirrored))

    def mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Prepared images and labels, mixed in pairs if the configuration says so, by (seed, step).

        Args:
            images: (N, C, H, W); on the meta device, where labels are all that is needed.
            labels: (N,).

        Returns:
            Labels of a mixed batch are soft ones, (N, K).
        """
        how = None if self._mixing is None else self._mixing.draw(self.step, len(labels))
        if self._mixing is None or how is None:
            return images, labels
        if not images.is_meta:
            images = self._mixing.images(how, images)
        return images, self._mixing.labels(how, labels)

    def _attention(self, images: Tensor) -> Tensor:
        return attention(self._evaluated, images)

    @contextmanager
    def _saying_what_is_kept(self) -> Iterator[None]:
        """Inside it an error about what is not finite tells the last good checkpoint."""
        try:
            yield
        except Diverged as error:
            kept = ""
            if self.run is not None and self.run.has_checkpoint():
                kept = f"; the last good checkpoint is kept in '{self.run.last}'"
            raise Diverged(error.what, error.step, kept) from None

    def _check_weights(self) -> None:
        """Raise where the last update broke the weights, before they are kept anywhere."""
        with self._saying_what_is_kept():
            self.learner.check_finite()
            for name, value in self.network.state_dict().items():
                if not torch.isfinite(value).all():
                    part, index = name.split(".")[:2]
                    where = f"block '{self.block_names[int(index)]}'" if part == "blocks" else name
                    raise Diverged(f"a weight of {where}", self.step - 1)

    def statistics(self) -> dict[str, Tensor]:
        """What batch norms that lag have instead of their running statistics when it is asked."""
        over = self.clock._replace(step=max(self.step - 1, 0))
        return recalibrated(self._evaluated, self.dataset, over)

    def evaluate(self, split: str) -> Counts:
        """Ask the network about ``"val"`` or ``"test"``.

        No more images at a time than memory was asked for, but many where they are small.
        """
        config, data = self.config, self.dataset
        many = max(config.batch_size, images_at_once(data.train.image_shape))
        return evaluate(
            self._evaluated,
            getattr(data, split),
            data.preprocessing,
            batch_size=config.micro_batch or many,
        )

    def _validate(self, state: State, totals: EpochMetrics) -> None:
        """Close the epoch: validate, log, keep the best, save."""
        totals.sums.copy_(state.sums)
        statistics = self.statistics()
        with holding(self._evaluated, statistics):
            counts = self.evaluate("val")
        fixed = self.config.readout
        val = counts.result(counts.best_readout() if fixed == "auto" else fixed)
        row = EpochRow(
            epoch=self.step // self.steps_per_epoch,
            step=self.step,
            **self._throughput.record(),
            learning_rate=self.learning_rate(self.step - 1),
            train=EpochTraining(totals.read(self.block_names)),
            val=EpochValidation(val.accuracy, val.readout, val.readouts, val.per_block),
            joules=self._joules(),
        )
        with self._off_the_clock():
            self._keep(row, val, state, statistics)

    def _keep(
        self, row: EpochRow, val: SplitResult, state: State, statistics: Mapping[str, Tensor]
    ) -> None:
        """Log an epoch, save its weights, and tell the callbacks."""
        self.history.append(row)
        highest = max(val.accuracy, self.best.highest)
        if val.accuracy >= highest - standard_error(highest, val.examples):
            self.best = Best(row.epoch, val.accuracy, val.readout, highest)
        if self.run is not None:
            self._lines.append(self.run.append(row))
            # `last` first: if the process dies in between, it holds the weights that `best` lacks.
            self._save_last(state._replace(sums=self._totals.sums))
            if self.best.epoch == row.epoch:
                self._save_best(statistics)
            self._save_epoch(row.epoch, statistics)
            self.run.settle()
        for callback in self.callbacks:
            callback.on_epoch(self, row)

    def _test(self) -> Result:
        """Evaluate on validation again and, this once, on the test split.

        The best weights, or without a run folder, which keeps them, the last; with the best
        epoch's readout.
        """
        took = {**self._throughput.record(), "joules": self._joules()}
        statistics: dict[str, Tensor] = {}
        if self.run is None:
            statistics = self.statistics()
        else:
            self.run.load_network(self.run.best, self.network)
            self._evaluated = self.network
        # Asked even where it was an earlier version's choice, see `Network.asked`.
        self._evaluated.readout = readout = self.best.readout
        with holding(self._evaluated, statistics):
            val = self.evaluate("val").result(readout)
            test = self.evaluate("test").result(readout) if self.config.final_test else None
        train = TrainFigures(
            **took,
            peak_memory_bytes=peak_memory(self.network.device),
            parameters=sum(p.numel() for p in self.network.parameters()),
            trained_parameters=self.learner.trained_parameters,
            joules_source=None if self._meter is None else self._meter.source,
            epochs=self.epoch,
            best_epoch=self.best.epoch,
        )
        method, data, blocks = self.config.method, self.dataset.name, self.block_names
        result = Result(SCHEMA, method, data, blocks, val, test, train)
        if self.run is not None:
            self.run.write_result(result)
        return result

    def _joules(self) -> float | None:
        """So far; None where nothing counts."""
        return None if self._meter is None else self._meter.joules()

    @contextmanager
    def _off_the_clock(self) -> Iterator[None]:
        """Saving and reports inside it count neither as time nor as energy of training."""
        with self._throughput.paused(), self._meter.paused() if self._meter else nullcontext():
            yield

    def _interruption(self) -> Interrupted:
        assert self.interrupted is not None
        name = signal.Signals(self.interrupted).name
        after = f"stopped by {name} after step {self.step}"
        if self.run is not None:
            again = f"{self.ranks.command} --resume {self.run.path}"
            if self.dataset.given:
                again = f"goodness.resume({str(self.run.path)!r}, data=...)"
            after += f"; go on with: {again}"
        return Interrupted(after, self.interrupted)

    def _meta(self) -> dict[str, Any]:
        assert self.run is not None
        prints = self.dataset.fingerprint
        return {
            "run": self.run.id,
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "seconds": self._throughput.seconds,
            "best": self.best.to_json(),
            "config": self.config.model_dump(mode="json"),
            "data": prints and prints.to_json(),
            "preprocessing": self.dataset.preprocessing.model_dump(mode="json"),
            "blocks": self.network.facts(),
        }

    def _save_best(self, statistics: Mapping[str, Tensor]) -> None:
        if self.run is not None:
            self._save_weights(self.run.best, statistics)

    def _save_epoch(self, epoch: int, statistics: Mapping[str, Tensor]) -> None:
        """Keep the weights of an epoch, and those of so many before it as are wanted."""
        keep = self.config.checkpoint.keep
        if self.run is not None and keep:
            self._save_weights(self.run.epoch(epoch), statistics)
            self.run.drop_epochs(range(epoch - keep + 1, epoch + 1))

    def _save_weights(self, folder: Path, statistics: Mapping[str, Tensor]) -> None:
        network = self.learner.final_network
        with holding(network, statistics):
            checkpoint.save(folder, self._meta(), {"network": network.state_dict()})

    def _save_last(self, state: State) -> None:
        if self.run is None:
            return
        self._check_weights()
        checkpoint.save(
            self.run.last,
            {**self._meta(), "optimizers": state.plain},
            {
                "network": self.network.state_dict(),
                "optimizers": state.tensors,
                "totals": {"sums": state.sums},
            },
            {self.run.metrics_file.name: "".join(self._lines)},
        )
        self._saved_at = time.perf_counter()

    def _check_data(self, kept: dict[str, Any] | None, accept: bool) -> None:
        """Refuse other data than before, or say what has changed; earlier versions kept nothing."""
        assert self.run is not None
        if self.dataset.fingerprint is None or kept is None or "splits" not in kept:
            return
        try:
            before = Fingerprint.from_json(kept)
        except ValueError:
            raise InputError(f"'{self.run.last}' is damaged: state.json has no data") from None
        if not (what := changes(before, self.dataset.fingerprint)):
            return
        said = f"the data of '{self.run.path}' has changed: {what}"
        if len(before.classes) != len(self.dataset.classes):
            raise InputError(f"{said} (for other classes begin a new run, with --init-from)")
        if not accept:
            raise InputError(f"{said} (to go on with it all the same: --changed-data)")
        note(said)

    def restore(self, changed_data: bool = False) -> None:
        """Take up the run where its last checkpoint left it.

        Args:
            changed_data: go on with other data than before.

        Raises:
            InputError: the checkpoint is damaged, of another model, or the data has changed.
        """
        assert self.run is not None
        meta, groups = self.run.load_checkpoint(
            self.run.last, "optimizers", "totals", needs=["optimizers"]
        )
        self._check_data(meta.get("data"), changed_data)
        self.run.load_network(self.run.last, self.network)
        if meta["steps_per_epoch"] != self.steps_per_epoch:
            raise InputError(
                f"the training data has changed since '{self.run.path}' was made:"
                f" {self.steps_per_epoch} steps per epoch instead of {meta['steps_per_epoch']}"
            )
        state = {"steps": meta["step"], "tensors": groups["optimizers"]}
        self.learner.load_state_dict({**state, "plain": meta["optimizers"]})
        if self.ranks.resumes_totals:
            self._totals.sums.copy_(groups["totals"]["sums"])
        if self.cache is not None:
            self.cache.check_space(self.step)
        self.best = Best.from_json(meta["best"])
        self._throughput.go_on(meta["seconds"])
        if not self.ranks.is_leader:
            return
        self.history = self.run.cut_history(until_step=self.step)
        self._lines = [self.run.line(row) for row in self.history]
        is_best = self.best.epoch == self.epoch
        if self.best.epoch and not is_best:
            self._check_best()
        if self.step == self.epoch * self.steps_per_epoch > 0 and (
            is_best or self.config.checkpoint.keep
        ):
            # The process may have died before they were written.
            statistics = self.statistics()
            if is_best:
                self._save_best(statistics)
            self._save_epoch(self.epoch, statistics)

    def _check_best(self) -> None:
        """See that the weights that are tested at the end are there; else others become the best.

        Raises:
            InputError: they are damaged.
        """
        assert self.run is not None
        if checkpoint.find(self.run.best) is None:
            note(f"'{self.run.best}' is gone: the best weights from here on are kept")
            self.best = Best()
        else:
            self.run.load_checkpoint(self.run.best, "network")
