"""Training step of a local method against backprop on the same network, in one run, as ratios.

    python benchmarks/step.py [--model vgg8] [--method asge] [--json results/step.json]

Both columns get everything that is not specific to local learning: channels-last, fused AdamW,
in-place ReLU, the same normalisation, pooling, data layout and batch. No readout is trained in
either column. The two are timed in turns, step by step, so that a noisy machine disturbs both
alike; the ratio is that of the medians. Peak memory counts the bytes of all live tensors during
one step (on a CUDA device: the allocator's peak): ``peak_step_bytes`` is what the step adds, with
gradients, ``peak_total_bytes`` has weights, buffers and optimizer state too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import goodness
from goodness.clock import Clock
from goodness.reports.environment import environment


class LiveBytes(TorchDispatchMode):
    """Tracks the storages that operations return, and the peak of those alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                self.live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return result


class Column:
    """One method on one network, with a batch to step on."""

    def __init__(self, method: str, model: dict[str, Any], batch: int, device: str) -> None:
        self.network = goodness.build(
            method, image=(3, 32, 32), classes=10, model=model, readouts={"last": {}}
        ).to(device)
        self.learner = goodness.Learner(self.network)
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(batch, 3, 32, 32, generator=generator).to(device)
        self.y = torch.randint(10, (batch,), generator=generator).to(device)
        self.steps = 0

    def step(self) -> float:
        """One training step; its seconds."""
        started = time.perf_counter()
        self.learner.step(self.x, self.y, Clock(self.steps, 1000, 1))
        if self.x.is_cuda:
            torch.cuda.synchronize()
        self.steps += 1
        return time.perf_counter() - started

    def state_bytes(self) -> int:
        """Weights, buffers and optimizer state."""
        tensors = [*self.network.state_dict().values(), *self.learner.state()[0].values()]
        return sum(tensor.nbytes for tensor in tensors)

    def gradient_bytes(self) -> int:
        """All gradients, if they were there at once."""
        return sum(p.nbytes for p in self.network.parameters())

    def peak(self) -> int:
        """Peak of live bytes that a step adds to the state."""
        if self.x.is_cuda:
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            self.step()
            return torch.cuda.max_memory_allocated() - before
        with LiveBytes() as tracker:
            self.step()
        return tracker.peak


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--method", default="asge")
    parser.add_argument("--model", default="vgg8")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json")
    args = parser.parse_args()
    # One network for both: the method's own normalisation and pooling.
    model = {**goodness.resolve({"method": args.method, "model": args.model}).model}
    columns = {
        name: Column(name, model, args.batch_size, args.device)
        for name in (args.method, "backprop")
    }
    for column in columns.values():
        column.step()
    peaks = {name: column.peak() for name, column in columns.items()}
    seconds: dict[str, list[float]] = {name: [] for name in columns}
    for _ in range(args.steps):
        for name, column in columns.items():
            seconds[name].append(column.step())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    total = {name: columns[name].state_bytes() + peaks[name] for name in columns}
    record = {
        "schema": 1,
        "command": " ".join(["python", *sys.argv]),
        "environment": environment(None),
        "model": model,
        "batch_size": args.batch_size,
        "steps": args.steps,
        "images_per_second": {name: args.batch_size / medians[name] for name in columns},
        "seconds_per_step": medians,
        "peak_step_bytes": peaks,
        "peak_total_bytes": total,
        "gradient_bytes": {name: columns[name].gradient_bytes() for name in columns},
        "ratios": {
            "speed": medians["backprop"] / medians[args.method],
            "step_memory": peaks[args.method] / peaks["backprop"],
            "total_memory": total[args.method] / total["backprop"],
        },
    }
    print(json.dumps(record, indent=1))
    if args.json:
        with open(args.json, "w") as file:
            file.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
