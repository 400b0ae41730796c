"""Local learning against backpropagation on the same network, in one run, as ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from goodness.config import KEYS, resolve
from goodness.errors import InputError
from goodness.methods import METHODS, Locality, baseline
from goodness.profiling.bound import bound, convolutions
from goodness.profiling.trial import Trial, trial_config
from goodness.types import Shape

BACKPROP = baseline()
CHECKPOINTING = f"{BACKPROP} + checkpointing"
ACCUMULATION = f"{BACKPROP} + accumulation"

Memory = Mapping[str, int]


class Bench(NamedTuple):
    """What is measured.

    Args:
        methods: names of local methods.
        model: a model's name or part; the first method's norm, pooling and activation are taken
            where it names none, and all ways have the same network. Spiking neurons that no
            gradient passes have the surrogate ``"atan"`` where backprop trains them.
        image_shape: the shape (C, H, W) of an image.
        num_classes: number of classes.
        batch: images of an update.
        steps: timed steps per way, after one that is not.
        device: where.
        values: configuration keys for all ways (threads, amp, compile, ...); those of local
            learning (schedule, objective, ...) do not reach the baselines.
    """

    methods: Sequence[str]
    model: Any
    image_shape: Shape = (3, 32, 32)
    num_classes: int = 10
    batch: int = 128
    steps: int = 10
    device: torch.device = torch.device("cpu")
    values: Mapping[str, Any] = {}

    def network(self) -> dict[str, Any]:
        """The network that all ways have."""
        given = {**self.values, "method": self.methods[0], "model": self.model}
        return dict(resolve(given).model)

    def trial(self, method: str, **values: Any) -> Trial:
        """A way to train."""
        given, model = dict(self.values), self.network()
        if method == BACKPROP:
            # What makes a local method another one makes the baseline none.
            given = {key: v for key, v in given.items() if KEYS[key].scope != "method"}
            if "surrogate" in model:
                model["surrogate"] = model["surrogate"] or "atan"
        config = trial_config(method, model, self.batch, {**given, **values})
        return Trial(config, self.image_shape, self.num_classes, self.device, self.batch)

    def trials(self) -> dict[str, Trial]:
        """The ways to train, but for accumulation."""
        trials = {name: self.trial(name) for name in (*self.methods, BACKPROP)}
        return {**trials, CHECKPOINTING: self.trial(BACKPROP, recompute=True)}

    def check(self) -> None:
        """Refuse what cannot be compared.

        Raises:
            InputError: no method, one that is no local one, or an unknown one.
        """
        if not self.methods:
            raise InputError("bench: at least one local method is needed")
        for name in self.methods:
            if METHODS[name].locality is Locality.GLOBAL:
                raise InputError(
                    f"bench: '{name}' is not local; {BACKPROP} and its variants are measured anyway"
                )


def compare_steps(bench: Bench, log: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and bytes of a step of every way, timed in turns, and the bound.

    Args:
        bench: what to measure.
        log: is told what goes on.

    Returns:
        ``bound`` ((f + d + w) / (f + w) of the same convolutions) and ``ways``: per way its
        ``seconds`` (median), ``images_per_second``, ``memory`` (see `Trial.memory`),
        ``activations_of_backprop``, ``speed_of_backprop`` (ratios) and ``share_of_bound``.
    """
    bench.check()
    trials = bench.trials()
    memory = {}
    for name, trial in trials.items():
        log(f"memory of {name}")
        memory[name] = trial.memory()
    least = min(memory[name]["activations"] for name in bench.methods)
    accumulating, memory[ACCUMULATION] = _accumulating(bench, least, log)
    trials[ACCUMULATION] = accumulating
    log("convolutions alone")
    baseline = trials[BACKPROP]
    limit = bound(convolutions(baseline.network, baseline.x, baseline.y))
    medians = _medians(trials, bench.steps, log)
    ways = {}
    for name in trials:
        speed = medians[BACKPROP] / medians[name]
        ways[name] = {
            "local": name in bench.methods,
            "accumulate_steps": trials[name].network.config.accumulate_steps,
            "seconds": medians[name],
            "images_per_second": bench.batch / medians[name],
            "memory": dict(memory[name]),
            "activations_of_backprop": (
                memory[name]["activations"] / memory[BACKPROP]["activations"]
            ),
            "speed_of_backprop": speed,
            "share_of_bound": speed / limit if name in bench.methods else None,
        }
    return {"bound": limit, "ways": ways}


def _medians(
    trials: Mapping[str, Trial], steps: int, log: Callable[[str], None]
) -> dict[str, float]:
    """Seconds of a step of each, in turns, so that a noisy machine disturbs all alike."""
    times: dict[str, list[float]] = {name: [] for name in trials}
    for turn in range(steps):
        for name, trial in trials.items():
            log(f"step {turn + 1} of {steps}: {name}, batch {trial.batch}")
            times[name].append(trial.step())
    return {name: statistics.median(values) for name, values in times.items()}


def _accumulating(
    bench: Bench, bytes_allowed: int, log: Callable[[str], None]
) -> tuple[Trial, Memory]:
    """Backprop in the fewest parts whose activations need no more than a local method's."""
    parts = 1
    while True:
        trial = bench.trial(BACKPROP, accumulate_steps=parts)
        log(f"memory of backprop in {parts} parts")
        memory = trial.memory()
        following = next((n for n in range(parts + 1, bench.batch) if bench.batch % n == 0), None)
        # A batch norm needs two images.
        if memory["activations"] <= bytes_allowed or following is None:
            return trial, memory
        parts = following


def depth_sweep(
    bench: Bench, depths: Sequence[int], width: int, log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Bytes of a step at several depths of a chain of equally wide convolutions.

    Args:
        bench: of its model the norm and activation are taken, where it has such options.
        depths: convolutions.
        width: channels of each.
        log: is told what goes on.

    Returns:
        Per depth: ``depth`` and ``activations`` by way.
    """
    made_of = {k: v for k, v in bench.network().items() if k in ("norm", "activation")}
    rows = []
    for depth in depths:
        model = {**made_of, "name": "cnn", "widths": [width] * depth, "pools": []}
        found = {}
        for name, trial in bench._replace(model=model).trials().items():
            log(f"memory of {name} at depth {depth}")
            found[name] = trial.memory()["activations"]
        rows.append({"depth": depth, "activations": found})
    return rows


def time_sweep(
    bench: Bench, steps: Sequence[int], log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Bytes of a step of a spiking network, shown an image for so many time steps.

    Returns:
        Per number of time steps: ``time_steps`` and ``activations`` by way.

    Raises:
        InputError: the network has no time steps.
    """
    model = bench.network()
    if steps and "steps" not in model:
        raise InputError(f"model '{model['name']}' has no time steps (use --model spiking-cnn)")
    rows = []
    for count in steps:
        found = {}
        for name, trial in bench._replace(model={**model, "steps": count}).trials().items():
            log(f"memory of {name} at {count} time steps")
            found[name] = trial.memory()["activations"]
        rows.append({"time_steps": count, "activations": found})
    return rows


def batch_sweep(
    bench: Bench, batches: Sequence[int], log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Speed and memory at several batch sizes, the ways in turns.

    Returns:
        Per batch size: ``batch`` and ``ways``, each with ``images_per_second`` and
        ``activations``.
    """
    rows = []
    for batch in batches:
        trials = bench._replace(batch=batch).trials()
        ways: dict[str, dict[str, float]] = {}
        for name, trial in trials.items():
            log(f"batch {batch}: memory of {name}")
            ways[name] = {"activations": trial.memory()["activations"]}
        for name, seconds in _medians(trials, bench.steps, log).items():
            ways[name]["images_per_second"] = batch / seconds
        rows.append({"batch": batch, "ways": ways})
    return rows
