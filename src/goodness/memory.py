"""How much memory there is, and sizes as a person would say them."""

from __future__ import annotations

from pathlib import Path

GROUP = Path("/sys/fs/cgroup")
INFO = Path("/proc/meminfo")


def available_memory() -> int:
    """Bytes that this process can still take, within the limit of its container."""
    free = _of_machine()
    try:
        limit = (GROUP / "memory.max").read_text().strip()
        used = int((GROUP / "memory.current").read_text())
        # Files that the kernel has read ahead count as used, but give way.
        stat = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
        return min(free, int(limit) - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):  # no container, or "max"
        return free


def in_units(size: float) -> str:
    """Bytes as a person would say them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def memory_line(images: int, step: int | None) -> str:
    """What a run will take, in bytes: decoded images in memory, and a step at its worst."""
    kept = f"{in_units(images)} of images" if images else "images decoded at every use"
    if step is None:
        return f"memory: {kept}"
    line = f"memory: {kept}, about {in_units(step)} for a step (weights and optimizer included)"
    if step > (free := available_memory()):
        line += (
            f"; that is more than the {in_units(free)} that are free: use a smaller --batch-size,"
            " --micro-batch, or a smaller --image-size"
        )
    return line


def _of_machine() -> int:
    try:
        lines = dict(line.split(":", 1) for line in INFO.read_text("utf-8").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        import psutil

        free: int = psutil.virtual_memory().available
        return free
