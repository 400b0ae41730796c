from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from goodness.checks import check_run
from goodness.clock import Clock
from goodness.data import Augmentation, Dataset, Split
from goodness.errors import Diverged, InputError, Interrupted
from goodness.files import write_json
from goodness.network.network import Network
from goodness.seeds import mix, permutation, seed_generators
from goodness.training import checkpoint
from goodness.training.callbacks import Callback
from goodness.training.energy import EnergyMeter
from goodness.training.epoch_metrics import EpochMetrics
from goodness.training.evaluation import Evaluation, evaluate
from goodness.training.feature_cache import FeatureCache, Features, Stage
from goodness.training.machine import peak_memory
from goodness.training.ranks import CONTINUE, SAVE, Ranks, State
from goodness.training.run_folder import RunFolder
from goodness.training.throughput import Throughput

SAVE_SECONDS = 300.0
"""Inside a long epoch the state is saved this often."""
CHECK_STEPS = 25
"""How often the losses are looked at for NaN, which waits for the device."""
ASKED_PIXELS = 2**18
"""Images of a small training batch are validated so many pixels at a time."""


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
        self.dataset = dataset
        self.network = network
        self.run = run
        self.callbacks = list(callbacks)
        self.ranks = Ranks(network.device) if ranks is None else ranks
        self.ranks.request = self._request
        self.augment = Augmentation(config.augment, dataset.train.image_shape)
        self.epochs = config.epochs
        self._whole = len(dataset.train) // config.batch_size
        self.steps_per_epoch = config.steps_per_epoch or self._whole
        check_run(config, len(dataset.train), self.epochs * self.steps_per_epoch)
        length = Clock(0, self.steps_per_epoch, self.epochs)
        self.learner = self.ranks.learner(network, self._class_weights(), length)
        self.block_names = network.names
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {"highest": 0.0}
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

    def live(self) -> dict[str, Any]:
        """The state of this moment for a display; waits for the device."""
        rate = self._throughput.images_per_second
        left = self.epochs * self.steps_per_epoch - self.step
        return {
            "blocks": self._totals.read(self.block_names),
            "images_per_second": rate,
            "eta": None if rate is None else left * self.config.batch_size / rate,
        }

    def fit(self) -> dict[str, Any]:
        """Train to the end.

        Returns:
            The content of ``result.json``.

        Raises:
            RunError: a loss or weight is not finite.
            OSError: the disk is full, log; the last checkpoint is kept.
            Interrupted: a signal came; the state is saved.
        """
        self._throughput.start()
        # Nobody keeps count of what a run used before it was interrupted, or on other ranks.
        counted = self.step == 0 and self.ranks.count == 1
        self._meter = EnergyMeter(self.network.device) if counted else None
        with ExitStack() as closing:
            for callback in self.callbacks:
                closing.callback(callback.on_close, self)
                callback.on_start(self)
            return self._train_and_test()

    def _train_and_test(self) -> dict[str, Any]:
        while self.epoch < self.epochs and not self.stop:
            self._train_epoch()
            state = self._gather()
            if self.ranks.is_leader:
                self._validate(state)
            else:
                self._totals = EpochMetrics(len(self.network), self.network.device)
            self.stop, self.interrupted = self.ranks.broadcast((self.stop, self.interrupted))
            if self.interrupted is not None and self.epoch < self.epochs and not self.stop:
                raise self._interruption()
        if self.cache is not None:
            self.cache.drop()
        result = self.ranks.broadcast(self._test() if self.ranks.is_leader else {})
        for callback in self.callbacks:
            callback.on_end(self, result)
        return result

    def _train_epoch(self) -> None:
        self._throughput.begin(self.step)
        for x, labels, first in self._batches():
            self._throughput.data_ready(self.step)
            step = self.step
            with self._saying_what_is_kept():
                result = self.learner.step(x, labels, first)
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
        self._check_weights()

    def _request(self) -> int:
        """What is to be done after this step."""
        if self.interrupted is not None:
            return self.interrupted
        due = self.run is not None and time.perf_counter() - self._saved_at > SAVE_SECONDS
        return SAVE if due else CONTINUE

    def _gather(self) -> State:
        with self._saying_what_is_kept():
            self.learner.check_finite()
        return self.ranks.gather(self.learner, self._totals)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        """This rank's share of what is left of this epoch: rows, their labels, and the first block
        that they enter."""
        config = self.config
        order = self._order()
        if not self.ranks.reads_images:
            yield from self._labels(order)
            return
        start = self.epoch * self.steps_per_epoch
        end = start + self.steps_per_epoch
        while self.step < end:
            stage = Stage(0, start, end) if self.cache is None else self.cache.stage(self.step)
            batches = self._source(stage.depth).batches(
                config.batch_size,
                self.network.device,
                order=order[: (min(stage.stop, end) - start) * config.batch_size],
                start=self.step - start,
                num_workers=config.num_workers,
            )
            for rows, labels in batches:
                x = rows if stage.depth else self.prepare(rows)
                yield *self.ranks.share(x, labels), stage.depth

    def _labels(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
        """For ranks that need no images: on this device any use of them is an error."""
        train, size = self.dataset.train, self.config.batch_size
        nothing = torch.empty(size, *train.image_shape, device="meta")
        start = self.step % self.steps_per_epoch
        for labels in train.label_batches(size, self.network.device, order=order, start=start):
            yield nothing, labels, 0

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

    def _order(self) -> Tensor:
        """The images of this epoch, which may see every one several times, or only some."""
        config = self.config
        passes = -(-self.steps_per_epoch // self._whole)
        # The last, smaller batch is left out; another shuffle leaves out other images.
        orders = [
            permutation(len(self.dataset.train), mix(config.seed, "order", number))
            for number in range(self.epoch * passes, (self.epoch + 1) * passes)
        ]
        shuffled = torch.cat([order[: self._whole * config.batch_size] for order in orders])
        return shuffled[: self.steps_per_epoch * config.batch_size]

    def _class_weights(self) -> Tensor | None:
        chosen = self.config.class_weights
        if chosen != "balanced":
            return None if chosen is None else torch.tensor(chosen)
        dataset = self.dataset
        counts = torch.bincount(dataset.train.labels, minlength=len(dataset.classes))
        seen = counts > 0
        # A class without an image has no loss to weigh, but needs a place.
        return torch.where(seen, counts.sum() / (seen.sum() * counts), 1.0)

    def prepare(self, images: Tensor) -> Tensor:
        """Augmented and standardised images; the draws belong to (seed, step)."""
        seed_generators(images.device, mix(self.config.seed, "augment", self.step))
        x = self.augment(self.dataset.preprocessing.apply(images, normalize=False))
        return self.dataset.preprocessing.normalize(x) if self.config.normalize else x

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
            self._check_state()

    def _check_state(self) -> None:
        for name, value in self.network.state_dict().items():
            if not torch.isfinite(value).all():
                part, index = name.split(".")[:2]
                where = f"block '{self.block_names[int(index)]}'" if part == "blocks" else name
                raise Diverged(f"a weight of {where}", self.step - 1)

    def evaluate(self, split: str) -> Evaluation:
        """Ask the network about ``"val"`` or ``"test"``."""
        return evaluate(
            self._evaluated,
            getattr(self.dataset, split),
            self.dataset.preprocessing,
            batch_size=self._images_asked(),
        )

    def _images_asked(self) -> int:
        """At a time: no more than memory was asked for, but many where images are small."""
        if self.config.micro_batch is not None:
            return self.config.micro_batch
        _, height, width = self.dataset.train.image_shape
        return max(self.config.batch_size, min(256, ASKED_PIXELS // (height * width)))

    def _chosen(self, evaluation: Evaluation) -> str:
        fixed = self.config.readout
        return evaluation.best_readout() if fixed == "auto" else fixed

    def _validate(self, state: State) -> None:
        """Close the epoch: validate, log, keep the best, save."""
        self._totals.sums.copy_(state.sums)
        evaluation = self.evaluate("val")
        readout = self._chosen(evaluation)
        accuracy = evaluation.accuracy(readout)
        epoch = self.step // self.steps_per_epoch
        last_step = self.clock._replace(step=self.step - 1)
        row = {
            "epoch": epoch,
            "step": self.step,
            **self._throughput.record(),
            "learning_rate": self.config.optimizer["lr"] * self.learner.lr_factor(last_step),
            "train": {"blocks": self._totals.read(self.block_names)},
            "val": {
                "accuracy": accuracy,
                "readout": readout,
                "readouts": evaluation.accuracies(),
                "per_block": evaluation.per_block(),
            },
        }
        self.history.append(row)
        self._totals = EpochMetrics(len(self.network), self.network.device)
        state = state._replace(sums=self._totals.sums)
        highest = max(accuracy, self.best["highest"])
        if accuracy >= highest - standard_error(highest, evaluation.examples):
            self.best = {
                "accuracy": accuracy,
                "epoch": epoch,
                "readout": readout,
                "highest": highest,
            }
        if self.run is not None:
            self.run.append(row)
            # `last` first: if the process dies in between, it holds the weights that `best` lacks.
            self._save_last(state)
            if self.best["epoch"] == epoch:
                self._save_best()
        for callback in self.callbacks:
            callback.on_epoch(self, row)

    def _test(self) -> dict[str, Any]:
        """Evaluate on validation again and, this once, on the test split.

        The best weights, or without a run folder, which keeps them, the last; with the best
        epoch's readout.
        """
        if self.run is not None:
            checkpoint.load_network(self.run.best, self.network)
            self._evaluated = self.network
        readout = self.best["readout"]
        result: dict[str, Any] = {
            "schema": checkpoint.SCHEMA,
            "method": self.config.method,
            "data": self.dataset.name,
            "blocks": self.block_names,
            "val": self.evaluate("val").record(readout),
            "test": self.evaluate("test").record(readout) if self.config.final_test else None,
        }
        result["train"] = {
            **self._throughput.record(),
            "peak_memory_bytes": peak_memory(self.network.device),
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "joules": None if self._meter is None else self._meter.joules(),
            "joules_source": None if self._meter is None else self._meter.source,
            "epochs": len(self.history),
            "best_epoch": self.best["epoch"],
        }
        if self.run is not None:
            write_json(self.run.result_file, result)
        return result

    def _interruption(self) -> Interrupted:
        assert self.interrupted is not None
        name = signal.Signals(self.interrupted).name
        after = f"stopped by {name} after step {self.step}"
        if self.run is not None:
            after += f"; go on with: {self.ranks.command} --resume {self.run.path}"
        return Interrupted(after, self.interrupted)

    def _meta(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "seconds": self._throughput.seconds,
            "best": self.best,
            "config": self.config.model_dump(mode="json"),
            "preprocessing": self.dataset.preprocessing.model_dump(mode="json"),
            "blocks": self.network.facts(),
        }

    def _save_best(self) -> None:
        if self.run is not None:
            weights = self.learner.final_network.state_dict()
            checkpoint.save(self.run.best, self._meta(), {"network": weights})

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
        )
        self._saved_at = time.perf_counter()

    def restore(self) -> None:
        """Take up the run where its last checkpoint left it.

        Raises:
            InputError: the checkpoint is damaged, of another model, or the data has changed.
        """
        assert self.run is not None
        meta, groups = checkpoint.load(
            self.run.last, "optimizers", "totals", needs=[*checkpoint.META_KEYS, "optimizers"]
        )
        checkpoint.load_network(self.run.last, self.network)
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
        self.best = meta["best"]
        self._throughput.go_on(meta["seconds"])
        if not self.ranks.is_leader:
            return
        self.history = self.run.cut_history(until_step=self.step)
        if "epoch" in self.best and self.step == self.best["epoch"] * self.steps_per_epoch:
            self._save_best()  # the process may have died before it was written


def standard_error(accuracy: float, examples: int) -> float:
    """Of a fraction measured on that many examples, 0 to 0.5.

    Epochs within one standard error of the highest validation accuracy are equals, and the latest
    of them is the best: on a few hundred images a lucky early epoch is no better than the ones
    after the learning rate has fallen.
    """
    return math.sqrt(accuracy * (1 - accuracy) / examples)
