"""Every random draw is a function of (seed, where, when): no generator state is ever saved.

A block replayed alone, or a run resumed at any step, draws the same numbers.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch


def mix(seed: int, *place: str | int) -> int:
    """A 63-bit seed for a place in the run, e.g. ``mix(0, "dropout", step, block)``."""
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Draws(NamedTuple):
    """When random numbers are drawn: a step of a run, and a part of its batch."""

    seed: int
    step: int
    part: int = 0

    def begin(self, device: torch.device, *place: str | int) -> None:
        """Seed what layers on ``device`` draw from, for a place such as ``("block", 2)``."""
        what, *index = place
        # A whole batch draws what the first of several parts does.
        part = (self.part,) if self.part else ()
        seed_generators(device, mix(self.seed, what, self.step, *index, *part))


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed the default generators that layers on ``device`` draw from."""
    # The default generator alone: torch.manual_seed seeds every backend and takes 100 times longer.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def kept_generators(device: torch.device) -> AbstractContextManager[None]:
    """Leave the default generators of the CPU and ``device`` as they were: they are the user's."""
    kept: AbstractContextManager[None]
    if device.type == "cpu":
        kept = torch.random.fork_rng([])
    else:
        kept = torch.random.fork_rng([device], device_type=device.type)
    return kept


def permutation(count: int, seed: int) -> torch.Tensor:
    """A shuffled order of ``count`` rows, int64 on the CPU."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
