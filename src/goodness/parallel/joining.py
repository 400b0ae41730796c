from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from goodness.config import Config
from goodness.errors import InputError
from goodness.parallel.launch import launched
from goodness.training.machine import set_machine
from goodness.training.ranks import Ranks


@contextmanager
def join(config: Config) -> Iterator[Ranks]:
    """The ranks that train by a configuration, with this process's machine prepared.

    An error that leaves the context ends all ranks.

    Args:
        config: ``parallel``, ``device`` and ``threads``.

    Raises:
        InputError: ``parallel`` without torchrun or the other way round, or fewer CUDA devices
            than ranks.
    """
    here = launched()
    if config.parallel == "none":
        if here is not None and here.size > 1:
            raise InputError(
                f"torchrun has started {here.size} processes, which would all write the same run:"
                " add --parallel layers or --parallel data"
            )
        yield Ranks(set_machine(config.device, config.num_threads))
        return
    if here is None:
        raise InputError(
            f"--parallel {config.parallel} needs several processes: torchrun --nproc-per-node 2"
            f" -m goodness train --parallel {config.parallel} ... (one process: --parallel none)"
        )
    device = set_machine(config.device, config.num_threads)
    if device.type == "mps":
        raise InputError(
            f"--parallel {config.parallel}: an Apple GPU is used by one process (try --device cpu)"
        )
    if device.type == "cuda":
        if here.local_rank >= torch.cuda.device_count():
            raise InputError(
                f"--parallel {config.parallel}: rank {here.rank} finds only"
                f" {torch.cuda.device_count()} CUDA devices (use a smaller --nproc-per-node)"
            )
        device = torch.device("cuda", here.local_rank)
        torch.cuda.set_device(device)
    # Imported here: a run of one process needs none of it.
    from goodness.parallel.data import DataRanks
    from goodness.parallel.group import Group
    from goodness.parallel.layers import LayerRanks

    with Group(here, device) as group:
        yield LayerRanks(group) if config.parallel == "layers" else DataRanks(group)
