"""Two layer-parallel ranks of one thread each, against processes that share nothing, as ratios.

    python benchmarks/parallel.py [--method sff] [--batch-size 128] [--json results/parallel.json]

Two processes take turns in three phases, so that a noisy machine disturbs all alike: they train one
network as a pipeline; each trains a network of its own at the same time; the first one trains alone
while the other one sleeps. ``pipeline_to_two`` is the pipeline's throughput in parts of what the
two independent processes get done together, the most that two ranks could reach on this machine;
``pipeline_to_one`` in parts of the one alone. Medians over all steps but the first of a phase,
which fills the pipeline; of the pipeline's two ends that of the slower one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import goodness
from goodness.clock import Clock
from goodness.learning.learner import Learner
from goodness.parallel.group import Group
from goodness.parallel.launch import Launch
from goodness.parallel.layers import LayerRanks
from goodness.reports.environment import environment

RANKS = 2
VGG16L = {
    "name": "cnn",
    "widths": [width for width in (64, 128, 256, 512) for _ in range(4)],
    "pools": [4, 8, 12],
    "norm": "batch",
}


def network(args: argparse.Namespace) -> goodness.Network:
    return goodness.build(
        args.method, image_shape=(3, 32, 32), num_classes=10, model=VGG16L, readouts={"last": {}}
    )


def phase(learner: Learner | None, args: argparse.Namespace, phases: int) -> list[float]:
    """Seconds of every step but the first, the processes beginning together."""
    generator = torch.Generator().manual_seed(phases)
    x = torch.randn(args.batch_size, 3, 32, 32, generator=generator)
    y = torch.randint(10, (args.batch_size,), generator=generator)
    dist.barrier()
    seconds = []
    for step in range(args.steps + 1 if learner is not None else 0):
        learner.steps = step
        started = time.perf_counter()
        learner.step(x, y)
        seconds.append(time.perf_counter() - started)
    dist.barrier()
    return seconds[1:]


def work(rank: int, args: argparse.Namespace, answers: Any) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    with Group(Launch(rank, rank, RANKS), torch.device("cpu")) as group:
        run = Clock(0, args.steps + 1, 1)
        stage = LayerRanks(group).learner(network(args), None, run)
        alone = Learner(network(args), run=run)
        seconds: dict[str, list[float]] = {"pipeline": [], "two": [], "one": []}
        for turn in range(args.rounds + 1):
            measured = {
                "pipeline": phase(stage, args, turn),
                "two": phase(alone, args, turn),
                "one": phase(alone if rank == 0 else None, args, turn),
            }
            if turn:  # the first round compiles and allocates
                for name, times in measured.items():
                    seconds[name] += times
        answers.put((rank, seconds, [stage.blocks.start, stage.blocks.stop]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--method", default="sff")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=6, help="measured in each phase")
    parser.add_argument("--rounds", type=int, default=2, help="measured, after one that is not")
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    os.environ |= {"OMP_NUM_THREADS": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    answers = mp.get_context("spawn").SimpleQueue()
    mp.spawn(work, (args, answers), RANKS)
    (_, first, *blocks), (_, last, *more) = sorted(answers.get() for _ in range(RANKS))
    medians = {
        "pipeline": max(statistics.median(end["pipeline"]) for end in (first, last)),
        "two": [statistics.median(first["two"]), statistics.median(last["two"])],
        "one": statistics.median(first["one"]),
    }
    throughput = {
        "pipeline": args.batch_size / medians["pipeline"],
        "two": sum(args.batch_size / each for each in medians["two"]),
        "one": args.batch_size / medians["one"],
    }
    record = {
        "schema": 1,
        "command": " ".join(["python", *sys.argv]),
        "environment": environment(None),
        "method": args.method,
        "model": VGG16L,
        "batch_size": args.batch_size,
        "steps": args.steps * args.rounds,
        "blocks": blocks + more,
        "seconds_per_step": medians,
        "images_per_second": throughput,
        "ratios": {
            "pipeline_to_two": throughput["pipeline"] / throughput["two"],
            "pipeline_to_one": throughput["pipeline"] / throughput["one"],
        },
    }
    print(json.dumps(record, indent=1))
    if args.json:
        with open(args.json, "w") as file:
            file.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
