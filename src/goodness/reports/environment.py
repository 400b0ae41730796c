"""On what a run was made: written once, so that its numbers can be placed later."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from goodness.plugins import plugins


def environment(command: str | None, device: torch.device | None = None) -> dict[str, Any]:
    """The software, the machine and the source a run was made with, as JSON.

    Args:
        command: the command line; None when a run is started from Python.
        device: what the run computes on; None is what ``--device auto`` takes.
    """
    return {
        "goodness": version("goodness"),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": _device_name(device),
        "plugins": plugins(),
        "git": _git(),
        "command": command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    """The processor's product name where the system tells it, else its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _device_name(device: torch.device | None) -> str:
    if device is None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _git() -> dict[str, Any] | None:
    """Commit of the current folder's repository; None without git, repository or commit.

    The repository may be somebody else's: no program that its configuration names is run.
    """
    try:
        commit = _output("rev-parse", "--verify", "HEAD")
        # Filters bring files into the form of the repository, by programs of their own.
        names = _output("config", "--includes", "--name-only", "--list").splitlines()
        filters = [name for name in names if name.startswith("filter.")]
        if any("=" in name for name in filters):  # which no `-c` can overrule
            return None
        words = ["status", "--porcelain", "--ignore-submodules=all"]
        return {"commit": commit, "dirty": bool(_output(*words, without=filters))}
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _output(*words: str, without: Sequence[str] = ()) -> str:
    """What git says, with some of its configuration overruled."""
    ruled = ["core.fsmonitor=false", f"core.hooksPath={os.devnull}", *(f"{n}=" for n in without)]
    # Nor does it fetch what is missing, which may run a program, too.
    alone = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": ""}
    done = subprocess.run(
        ["git", *(word for value in ruled for word in ("-c", value)), *words],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
        env={**os.environ, **alone},
    )
    return done.stdout.strip()
