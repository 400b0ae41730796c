"""Energy, time and memory of local methods and backprop, on equal passes and to convergence.

    GOODNESS_DATA=... python benchmarks/energy.py mlp [--data mnist] [--epochs N] [--seeds N]
    GOODNESS_DATA=... python benchmarks/energy.py cnn --data fashion_mnist

The study of arXiv 2509.19063 and 2511.01061, anew: Forward-Forward, CaFo and Mono-Forward against
backprop on one network. *Matched*: every method sees the images equally often. *Converged*: each
trains until ten epochs have brought no better validation accuracy (at most 100). Learning rates
are searched alike, with a third of the matched epochs. What is counted is the window of training
and validation alone, by the GPU's counter (NVML) or the processor's (RAPL); where neither can be
read, joules are null, and seconds, floating-point operations and bytes have to do. Memory is the
allocator's peak on a GPU, the process's largest resident set on a CPU. Every training is a process
of its own. Writes ``results/energy-<case>-<data>.json`` after each; started again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shlex
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import goodness
from goodness.reports.environment import environment
from runs import search, write

CASES: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "widths": [2000, 2000, 2000]},
    "cnn": {"name": "small-cnn", "widths": [32, 64, 128]},
}
METHODS = ("ff", "cafo-ce", "mono-forward", "backprop")
PATIENCE, MOST = 10, 100


def trained(values: dict[str, Any], patience: int | None) -> dict[str, Any]:
    """One training, in this process."""
    callbacks = [goodness.EarlyStopping(patience)] if patience else []
    with tempfile.TemporaryDirectory() as scratch:
        run = goodness.fit(**values, out=Path(scratch) / "run", callbacks=callbacks)
        assert run.result.test is not None
        figures = run.result.train
        batch, network = run.network.config.batch_size, run.network
        step = flops(values, network.image_shape, network.num_classes, batch)
        images = len(goodness.open_data(values["data"]).train)
        return {
            "accuracy": run.result.test.accuracy,
            "readout": run.result.test.readout,
            "epochs": figures.epochs,
            "best_epoch": figures.best_epoch,
            "seconds": figures.seconds,
            "joules": figures.joules,
            "joules_source": figures.joules_source,
            "flops": step * images / batch * figures.epochs,
            "peak_memory_bytes": figures.peak_memory_bytes,
            "environment": environment(None),
        }


def flops(values: dict[str, Any], shape: tuple[int, int, int], classes: int, batch: int) -> int:
    """Of one training step, by torch's counter: convolutions and products of matrices."""
    given = {key: value for key, value in values.items() if key not in ("data", "num_threads")}
    network = goodness.build(
        given.pop("method"),
        image_shape=shape,
        num_classes=classes,
        **{**given, "epochs": 2, "steps_per_epoch": 2},
    )
    learner = goodness.Learner(network)
    x, y = torch.rand(batch, *shape), torch.arange(batch) % classes
    learner.step(x, y)
    with FlopCounterMode(display=False) as counter:
        learner.step(x, y)
    return counter.get_total_flops()


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results"))
    args = parser.parse_args()
    path = args.out / f"energy-{args.case}-{args.data}.json"
    command = f"python benchmarks/energy.py {shlex.join(sys.argv[1:])}"
    record: dict[str, Any] = {"schema": 1, "command": command, "methods": {}}
    if path.exists():
        record = json.loads(path.read_text())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as alone:
        for method in METHODS:
            column = record["methods"].setdefault(method, {"matched": {}, "converged": {}})
            values: dict[str, Any] = {
                "method": method,
                "data": args.data,
                "model": CASES[args.case],
                "num_threads": args.threads,
            }
            if "lr" not in column:
                words = [f"--method={method}", f"--data={args.data}"]
                words += [f"--set=model={json.dumps(CASES[args.case])}"]
                words += [f"--num-threads={args.threads}", f"--epochs={-(-args.epochs // 3)}"]
                own = goodness.resolve({k: v for k, v in values.items() if k != "num_threads"})
                column["lr"], column["search"] = search(words, own.optimizer["lr"])
                write(path, record)
            for way, epochs, patience in (
                ("matched", args.epochs, None),
                ("converged", MOST, PATIENCE),
            ):
                for seed in map(str, range(args.seeds)):
                    if seed in column[way]:
                        continue
                    given = {**values, "lr": column["lr"], "epochs": epochs, "seed": int(seed)}
                    found = alone.submit(trained, given, patience).result()
                    column[way][seed] = found
                    write(path, record)
                    print(f"{method}, {way}, seed {seed}: {found['accuracy']:.4f}", flush=True)
    for way in ("matched", "converged"):
        print(f"\n{way}: test %, seconds, joules, TFLOP, MiB")
        for method, column in record["methods"].items():
            runs = list(column[way].values())
            mean = {
                key: statistics.mean(run[key] for run in runs)
                for key in ("accuracy", "seconds", "flops", "peak_memory_bytes")
            }
            joules = [run["joules"] for run in runs if run["joules"] is not None]
            print(
                f"{method:14s} {100 * mean['accuracy']:6.2f} {mean['seconds']:8.0f}"
                f" {f'{statistics.mean(joules):.0f}' if joules else 'no counter':>11s}"
                f" {mean['flops'] / 1e12:8.1f} {mean['peak_memory_bytes'] / 2**20:8.0f}"
            )


if __name__ == "__main__":
    main()
