"""How fast a configuration trains on this machine, told from a few steps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from goodness.config import resolve
from goodness.devices import synchronize
from goodness.learning.learner import Learner
from goodness.results import Speed
from goodness.training import batch_size
from goodness.training.machine import set_machine
from goodness.training.preparing import prepare
from goodness.training.ranks import Ranks
from goodness.training.trainer import Trainer

TIMED_PIXELS = 2**20
"""A step is timed on no more."""


def measure(config: Mapping[str, Any]) -> Speed:
    """How fast a configuration trains on this machine, from a few steps on its own data.

    Args:
        config: a resolved configuration's keys.
    """
    resolved = resolve(config)
    trainer = prepare(resolved, Ranks(set_machine(resolved.device, resolved.num_threads)))
    step = time_step(trainer, 8)
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


def time_step(trainer: Trainer, steps: int = 4) -> float:
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
