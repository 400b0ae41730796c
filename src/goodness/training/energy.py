"""Energy, where the hardware counts it; nothing is ever estimated."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

RAPL = Path("/sys/class/powercap")
"""Linux's window on the energy counters of the processor's packages."""
READ_SECONDS = 60.0
"""A processor's counters are read this often."""


class EnergyMeter:
    """Joules since it was made, without what was `paused`: the GPU's counter (NVML), or those of
    the processor (RAPL).

    The GPU's needs the package ``nvidia-ml-py``; the processor's files are often readable for root
    alone, and do not exist in most virtual machines. Both count all that the hardware does, not
    this process alone.

    Args:
        device: what the run computes on.
        rapl: where the processor's counters are.
    """

    def __init__(self, device: torch.device, rapl: Path = RAPL) -> None:
        self._nvml = _nvml_handle(device) if device.type == "cuda" else None
        self._rapl = [] if device.type == "cuda" else _packages(rapl)
        self._before = self._counters()
        self._total = 0.0
        self._read_at = time.monotonic()

    @property
    def source(self) -> str | None:
        """``"nvml"``, ``"rapl"``, or None where nothing counts."""
        if self._nvml is not None:
            return "nvml"
        return "rapl" if self._rapl else None

    def joules(self) -> float | None:
        """Since the beginning, without what was `paused`; None where nothing counts."""
        if self.source is None:
            return None
        counters = self._counters()
        for (now, size), (before, _) in zip(counters, self._before, strict=True):
            # A processor's counter begins again at 0 when it is full.
            self._total += now - before if now >= before else now - before + size
        self._before = counters
        self._read_at = time.monotonic()
        return self._total

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside does not count."""
        self.joules()
        try:
            yield
        finally:
            self._before = self._counters()
            self._read_at = time.monotonic()

    def watch(self) -> None:
        """Read the counters if it is time to: a full one that begins again twice looks like once.

        To be called all along; a processor's counter is full after some ten minutes.
        """
        if time.monotonic() - self._read_at > READ_SECONDS:
            self.joules()

    def _counters(self) -> list[tuple[float, float]]:
        """Each counter's joules, and at how many it begins again."""
        if self._nvml is not None:
            module, handle = self._nvml
            return [(module.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, 0.0)]
        return [
            (_number(folder / "energy_uj") / 1e6, _number(folder / "max_energy_range_uj") / 1e6)
            for folder in self._rapl
        ]


def _nvml_handle(device: torch.device) -> tuple[Any, Any] | None:
    try:
        module = importlib.import_module("pynvml")
        module.nvmlInit()
        # Not by index: CUDA_VISIBLE_DEVICES changes torch's numbers, but not NVML's.
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = module.nvmlDeviceGetHandleByUUID(name)
        module.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # not installed, no driver, or a GPU too old to count
        return None
    return module, handle


def _packages(rapl: Path) -> list[Path]:
    """The packages whose counters can be read; their parts are counted in them."""
    folders = sorted(path for path in rapl.glob("intel-rapl:*") if path.name.count(":") == 1)
    try:
        for folder in folders:
            _number(folder / "energy_uj")
    except (OSError, ValueError):
        return []
    return folders


def _number(file: Path) -> float:
    return float(file.read_text())
