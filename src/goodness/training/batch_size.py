"""The batch size of a run for which nobody has chosen one: what the images and the memory allow."""

from __future__ import annotations

import math

from goodness.config import Config
from goodness.memory import in_units
from goodness.notes import note
from goodness.profiling.estimate import free_memory, step_memory
from goodness.training.trainer import Trainer

FEW_STEPS = 4
LEAST_BATCH = 8
FREE_SHARE = 0.5
"""A step is to take no more than this part of the memory that is free."""
LARGE = 2**22
"""With fewer pixels in a batch nobody needs to ask whether it fits."""


def filled(config: Config, images: int) -> Config:
    """A configuration whose batch so many training images can fill.

    Of fewer than the usual batch a smaller one is taken, a power of two of which an epoch has a few
    steps.
    """
    if config.batch_size <= images:
        return config
    batch = min(images, max(LEAST_BATCH, _power_of_two(images / FEW_STEPS)))
    note(
        f"{images} training images do not fill the usual batch of {config.batch_size}: it is"
        f" {batch} (--batch-size takes another)"
    )
    return config.model_copy(update={"batch_size": batch})


def in_memory(trainer: Trainer) -> Config:
    """The configuration of a run with a batch whose step fits into the memory that is free."""
    config = trainer.config
    _, height, width = trainer.dataset.train.image_shape
    if config.batch_size * height * width < LARGE or (needs := step_memory(trainer)) is None:
        return config
    device = trainer.network.device
    room = FREE_SHARE * free_memory(device)
    if needs.of(config.batch_size) <= room:
        return config
    batch = max(LEAST_BATCH, _power_of_two((room - needs.fixed) / needs.per_image))
    if batch >= config.batch_size:
        return config
    note(
        f"a step with the usual batch of {config.batch_size} would take about"
        f" {in_units(needs.of(config.batch_size))}, and {in_units(free_memory(device))} are free:"
        f" the batch is {batch} (--batch-size takes another; --micro-batch needs less memory for"
        " the same batch)"
    )
    return config.model_copy(update={"batch_size": batch})


def _power_of_two(most: float) -> int:
    return 2 ** int(math.log2(max(1.0, most)))
