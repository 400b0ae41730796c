from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from goodness.devices import synchronize

WARM_STEPS = 10
"""First steps, which compile and allocate, are left out of images per second."""


class Throughput:
    """How long a run takes, how fast its steps are, and how much of them the data takes.

    Around every step: `begin`, `data_ready`, `end`, with its number.

    Args:
        device: where the steps are computed.
        images: images per step.
        every: on a GPU the share of the data is measured on one in so many steps only, as it has
            to wait.
    """

    def __init__(self, device: torch.device, images: int, every: int) -> None:
        self._device = device
        self._waits = device.type != "cpu"
        self._images = images
        self._every = every
        self._before = 0.0
        self._started = time.perf_counter()
        self._paused_at: float | None = None
        self._begun = self._ready = 0.0
        self._steps = 0
        self._steady_steps = 0
        self._steady_seconds = 0.0
        self._data_seconds = 0.0
        self._timed_seconds = 0.0

    def go_on(self, seconds: float) -> None:
        """Count the time from before a run was stopped."""
        self._before = seconds

    def start(self) -> None:
        """The run's time counts from here on."""
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the start, and before the run was stopped; without what was `paused`."""
        now = time.perf_counter() if self._paused_at is None else self._paused_at
        return self._before + now - self._started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside takes none of the run's time."""
        self._paused_at = time.perf_counter()
        try:
            yield
        finally:
            self._started += time.perf_counter() - self._paused_at
            self._paused_at = None

    @property
    def images_per_second(self) -> float | None:
        """In the steps alone, without the first ones."""
        if not self._steady_seconds:
            return None
        return self._steady_steps * self._images / self._steady_seconds

    def begin(self, step: int) -> None:
        """The step's data is asked for."""
        self._begun = self._now(step)

    def data_ready(self, step: int) -> None:
        """The data is there and augmented."""
        self._ready = self._now(step)

    def end(self, step: int) -> None:
        """The network has been trained with it."""
        done = self._now(step)
        self._steps += 1
        if self._steps > WARM_STEPS:
            self._steady_steps += 1
            self._steady_seconds += done - self._begun
        if not self._waits or step % self._every == 0:
            self._data_seconds += self._ready - self._begun
            self._timed_seconds += done - self._begun

    def record(self) -> dict[str, Any]:
        """``seconds``, ``images_per_second`` and ``data_share`` (of the steps' time, 0 to 1)."""
        share = self._data_seconds / self._timed_seconds if self._timed_seconds else 0.0
        return {
            "seconds": round(self.seconds, 3),
            "images_per_second": self.images_per_second,
            "data_share": round(share, 4),
        }

    def _now(self, step: int) -> float:
        if self._waits and step % self._every == 0:
            synchronize(self._device)
        return time.perf_counter()
