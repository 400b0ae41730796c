"""Speed and memory of a layer-local step against backpropagation's, as ratios.

    python benchmarks/speed.py vgg16l     # 16 convolutions with batch norm, a sweep over depth
    python benchmarks/speed.py vgg8       # ASGE's network
    python benchmarks/speed.py vgg16l --compile true # every block compiled
    python benchmarks/speed.py level-vgg8            # in the frame of the recipes
    python benchmarks/speed.py lookahead-resnet18-2  # a backbone in two blocks
    GOODNESS_DATA=... python benchmarks/speed.py loop   # what is not the step, on small-cnn

Each of `NETWORKS` is one ``goodness bench`` (all ways in turns in one run; it prints its command)
and writes ``results/bench-<network>.json``, with sweeps ``docs/bench-<network>.png`` as well; on a
CUDA device with ``--amp bf16``. What is compiled has a record of its own,
``bench-<network>-compiled`` or, by ``--compile reduce-overhead`` with CUDA graphs,
``bench-<network>-reduce-overhead``. ``loop`` trains two epochs of CIFAR-10 and writes
``results/loop.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import goodness
from goodness.learning.learner import Learner
from goodness.reports.environment import environment
from goodness.training.trainer import Trainer
from runs import FRAME, REGIME, write

WIDTHS = [width for width in (64, 128, 256, 512) for _ in range(4)]
NARROW = ["--model=timm/resnet18", "--model-arg=channels=[16,32,64,128]"]
MOBILE = ["--model=timm/mobilenetv3_small_100"]
ON_128 = ["--partition=stage", "--image-size=128", "--set=objective.kernel=5"]
NETWORKS = {
    "vgg16l": [
        *("asge", "sff", "--model=cnn"),
        f"--model-arg=widths={json.dumps(WIDTHS, separators=(',', ':'))}",
        "--model-arg=pools=[4,8,12]",
        "--model-arg=norm=batch",
        "--model-arg=pool=max",
    ],
    "vgg8": ["asge", "sff", "--model=vgg8", "--model-arg=norm=none", "--model-arg=pool=avg"],
    "level-small-cnn": ["spectral-local", "--model=small-cnn", *FRAME],
    "level-vgg8": ["spectral-local", "--model=vgg8", *FRAME],
    "maps-128px": ["sff", *NARROW, *ON_128, "--set=objective.grid=null"],
    "maps-128px-coarse": ["sff", *NARROW, *ON_128, "--set=objective.grid=8"],
    # What arXiv 2606.06539 was criticised by: backprop with accumulation beside it.
    "audit": ["dtg", "asge-fast", "spectral-local", "--model=vgg8", "--model-arg=norm=batch"],
    "level-resnet18": ["sff", "asge-fast", "--model=timm/resnet18", "--partition=stage"],
    "lookahead-resnet18-2": ["lookahead", *NARROW, "--partition=2", *REGIME],
    "lookahead-resnet18-4": ["lookahead", *NARROW, "--partition=4", *REGIME],
    "lookahead-mobilenetv3-2": ["lookahead", *MOBILE, "--partition=2", *REGIME],
    "lookahead-mobilenetv3-3": ["lookahead", *MOBILE, "--partition=3", *REGIME],
}
"""What is measured: methods, the network, and the frame that they share with backprop."""
SWEEPS = {
    "vgg16l": ["--depths=8,16,32,64", "--batches=32,64,128", "--parts=1,2,4,8"],
    "vgg8": ["--parts=1,2,4,8"],
    "level-resnet18": ["--parts=1,2,4,8"],
}


def network(name: str, words: list[str], compiled: str | None, out: Path) -> None:
    """One bench, with a picture; of compiled blocks without either sweep or picture."""
    more = [f"--set=compile={compiled}"] if compiled else SWEEPS.get(name, [])
    command = ["bench", *NETWORKS[name], *words, *more]
    print(shlex.join(["goodness", *command]), file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        python = [sys.executable, "-m", "goodness", *command, f"--out={scratch}"]
        subprocess.run(python, check=True, stdout=subprocess.DEVNULL)
        record = json.loads((Path(scratch) / "bench.json").read_text())
        record["command"] = shlex.join(["goodness", *command])
        write(record_of(name, compiled, out), record)
        if not compiled and name in SWEEPS:
            picture = (Path(scratch) / "bench.png").read_bytes()
            (out.parent / "docs" / f"bench-{name}.png").write_bytes(picture)


def record_of(name: str, compiled: str | None, out: Path) -> Path:
    """Where a bench is written to."""
    suffix = {None: "", "true": "-compiled"}.get(compiled, f"-{compiled}")
    return out / f"bench-{name}{suffix}.json"


def loop(threads: int, out: Path) -> None:
    """The part of two epochs' training that the learner's steps do not take."""
    spent = {"steps": 0.0, "epoch": 0.0}
    step, epoch = Learner.step, Trainer._train_epoch

    def timed(name: str, function: Any) -> Any:
        def run(*args: Any) -> Any:
            started = time.perf_counter()
            result = function(*args)
            spent[name] += time.perf_counter() - started
            return result

        return run

    Learner.step = timed("steps", step)  # type: ignore[method-assign]
    Trainer._train_epoch = timed("epoch", epoch)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as scratch:
        goodness.fit(
            method="sff",
            model="small-cnn",
            data="cifar10",
            epochs=2,
            num_threads=threads,
            out=Path(scratch) / "run",
            final_test=False,
        )
    record = {
        "schema": 1,
        "command": f"python benchmarks/speed.py loop --threads {threads}",
        "environment": environment(None),
        **{f"seconds_{name}": seconds for name, seconds in spent.items()},
        "share_of_the_rest": 1 - spent["steps"] / spent["epoch"],
    }
    write(out / "loop.json", record)
    print(json.dumps(record, indent=1))


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=[*NETWORKS, "loop"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--amp", default="none")
    parser.add_argument("--compile", choices=["true", "reduce-overhead"])
    parser.add_argument("--out", type=Path, default=Path("results"))
    args = parser.parse_args()
    if args.part == "loop":
        loop(args.threads, args.out)
        return
    words = [f"--num-threads={args.threads}", f"--batch-size={args.batch_size}"]
    words += [f"--steps={args.steps}", f"--set=amp={args.amp}"]
    network(args.part, words, args.compile, args.out)


if __name__ == "__main__":
    main()
