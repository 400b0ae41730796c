"""The device, and how the process uses the CPU."""

from __future__ import annotations

import ctypes
import sys

import torch

from goodness.errors import InputError

DEVICES = ("cpu", "cuda", "mps")


def set_machine(device: str, threads: int | None) -> torch.device:
    """Prepare the process for training.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        threads: CPU threads of an operation; None leaves torch's choice.

    Returns:
        The device.

    Raises:
        InputError: no such device on this machine.
    """
    chosen = choose_device(device)
    if chosen.index is not None and chosen.type == "cuda":
        # Generators, streams and allocations without a device's name are those of the current one.
        torch.cuda.set_device(chosen)
    if threads is not None:
        torch.set_num_threads(threads)
    # Weights and moments that fade to denormals make a CPU step many times slower.
    torch.set_flush_denormal(True)
    if chosen.type == "cpu":
        _keep_freed_memory()
    return chosen


def choose_device(name: str) -> torch.device:
    """A device by name; ``auto`` takes CUDA where there is one.

    Raises:
        InputError: no such device on this machine, or of a kind that is not known here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in DEVICES:
            raise InputError(
                f"device '{name}': only {', '.join(DEVICES)} can be used (try --device cpu)"
            )
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device '{name}' is not available here (try --device cpu)") from None
    return device


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed memory instead of handing it back to the kernel.

    Every step allocates the same activations, and fresh pages for them cost page faults each time.
    Other C libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 64 * 2**20)


def peak_memory(device: torch.device) -> int:
    """Bytes, by kind of device.

    CUDA: the allocator's peak. MPS, which keeps no peak: what the driver holds for the process,
    which rarely shrinks. CPU: the process's largest resident set.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        peak: int = psutil.Process().memory_info().peak_wset
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
