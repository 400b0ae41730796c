"""Networks of other libraries trained block by block, with backprop beside it.

    GOODNESS_DATA=... python benchmarks/backbones.py epochs      # narrow ResNet18, MobileNetV3
    GOODNESS_DATA=... python benchmarks/backbones.py blocks      # the same with Muon, in few blocks
    GOODNESS_DATA=... python benchmarks/backbones.py few         # 50 images of each class, 5 seeds
    GOODNESS_DATA=... python benchmarks/backbones.py transfer    # half of the classes, then half
    GOODNESS_DATA=... python benchmarks/backbones.py imagenette  # 128 pixels, narrow ResNet18
    GOODNESS_DATA=... python benchmarks/backbones.py gpu         # ResNet18 in full, with CUDA

The data are CIFAR-10 where nothing else is said. Every column has its learning rate searched alike:
three rates around 3e-3 (with Muon 0.1), and more while the best is at an end, for a part of the
run, judged on validation. Each run is the ``goodness train`` command that is printed; a record in
``results/backbones-<part>.json`` holds finished columns; started again, the script goes on with the
next one. To try the script out, ``--steps N`` makes every epoch N steps, and ``--only WORD`` takes
the columns that have it in their names.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runs import REGIME, best_of, search, train, write

CENTRE = 3e-3
CIFAR10 = "--data=cifar10"
NARROW = ["--model=timm/resnet18", "--model-arg=channels=[16,32,64,128]"]
# Batch norms of torchvision's have momentum 0.01: their statistics lag thousands of steps behind.
MOBILE = ["--model=timm/mobilenetv3_small_100"]


def sff(partition: str, kernel: int) -> list[str]:
    """SFF on a cut; the kernels of its class maps were chosen in 150 steps each, on validation."""
    return ["--method=sff", f"--partition={partition}", f"--set=objective.kernel={kernel}"]


# Linear probes would take time and answer nothing.
BACKPROP = ["--method=backprop", "--partition=stage", "--set=readouts.probe=null"]
# One block is trained end to end, by the head that several blocks have one each of: what is left
# between it and two blocks is the cut alone.
ON_MOBILE = {
    "sff, stage": sff("stage", 3),
    "sff, block": sff("block", 3),
    "sff, layer": sff("layer", 3),
    "sff, 2 blocks": sff("2", 3),
    "sff, 1 block": sff("1", 3),
    "backprop": BACKPROP,
}
# A residual block has no cut inside: its layers are the paper's layers, its stages the blocks.
ON_NARROW = {
    "sff, stage": sff("stage", 5),
    "sff, block": sff("block", 5),
    "sff, 2 blocks": sff("2", 5),
    "sff, 1 block": sff("1", 5),
    "backprop": BACKPROP,
}
IN_BLOCKS = {
    "narrow resnet18": {
        "lookahead, 2 blocks": ["--method=lookahead", "--partition=2"],
        "lookahead, 4 blocks": ["--method=lookahead", "--partition=4"],
        "backprop": BACKPROP,
        "man, 2 blocks": ["--method=man", "--partition=2"],
        "auglocal, 2 blocks": ["--method=auglocal", "--partition=2"],
        "hpff, 4 blocks": ["--method=hpff", "--partition=4"],
    },
    "mobilenetv3_small_100": {
        "lookahead, 2 blocks": ["--method=lookahead", "--partition=2"],
        "backprop": BACKPROP,
    },
}
"""What teaches a block so that the next ones can use it, and the methods that it descends from."""
REGULARISED = {
    "--weight-decay=": ((1e-4, 1e-3, 1e-2, 1e-1, 1.0), 2),
    "--set=label_smoothing=": ((0.0, 0.05, 0.1, 0.2, 0.3), 0),
    "--model-arg=drop_rate=": ((0.0, 0.1, 0.25, 0.5, 0.75), 0),
}
"""What keeps backprop from learning few images by heart: values, and the place of the default."""
PAIR = {name: ON_NARROW[name] for name in ("sff, stage", "backprop")}
FIRST = "airplane,automobile,bird,cat,deer"
SECOND = "dog,frog,horse,ship,truck"


class Record:
    """Columns of one part, kept after each."""

    def __init__(self, part: str, folder: Path, only: str = "") -> None:
        self.only = only
        self.path = folder / f"backbones-{part}.json"
        self.content: dict[str, Any] = {"schema": 1, "columns": {}}
        if self.path.exists():
            self.content = json.loads(self.path.read_text())
        self.content["command"] = f"python benchmarks/backbones.py {shlex.join(sys.argv[1:])}"

    def add(
        self,
        name: str,
        words: Sequence[str],
        trial: Sequence[str],
        seeds: int = 1,
        further: Mapping[str, tuple[Sequence[float], int]] | None = None,
        centre: float = CENTRE,
    ) -> None:
        """Search the rate of a column and train it, unless it is there.

        Args:
            name: of the column.
            words: its options.
            trial: further options of a trial.
            seeds: how many runs.
            further: options that are searched after the rate, one after another, each with its
                values and the place of the first one tried.
            centre: the rate tried first.
        """
        if name in self.content["columns"] or self.only not in name:
            return
        lr, trials = search(words, centre, trial)
        words = [*words, f"--lr={lr}"]
        for option, (values, start) in (further or {}).items():
            value, more = best_of(option, values, start, words, trial)
            words, trials = [*words, f"{option}{value}"], [*trials, *more]
        runs = [train([*words, f"--seed={seed}"]) for seed in range(seeds)]
        accuracies = [run["test"]["accuracy"] for run in runs]
        spread = statistics.stdev(accuracies) if seeds > 1 else None
        self.content["columns"][name] = {
            "lr": lr,
            "search": trials,
            "test_accuracy": statistics.mean(accuracies),
            "test_accuracies": accuracies,
            "standard_deviation": spread,
            "runs": runs,
        }
        write(self.path, self.content)
        print(f"{name}: test {accuracies}", file=sys.stderr, flush=True)


def epochs(record: Record, common: Sequence[str]) -> None:
    """8 epochs; trials of one."""
    networks = {
        "narrow resnet18": (NARROW, ON_NARROW),
        "mobilenetv3_small_100": (MOBILE, ON_MOBILE),
    }
    for network, (model, methods) in networks.items():
        for method, words in methods.items():
            given = [*model, *words, CIFAR10, *common]
            record.add(f"{network}: {method}", [*given, "--epochs=8"], ["--epochs=1"])


def blocks(record: Record, common: Sequence[str]) -> None:
    """8 epochs in the regime of the recipes, around Muon's rate; trials of two."""
    models = {"narrow resnet18": NARROW, "mobilenetv3_small_100": MOBILE}
    regime = [*REGIME, "--batch-size=250", "--epochs=8"]
    for network, methods in IN_BLOCKS.items():
        for method, words in methods.items():
            given = [*models[network], *words, CIFAR10, *regime, *common]
            record.add(f"{network}: {method}", given, ["--epochs=2"], centre=0.1)


def few(record: Record, common: Sequence[str]) -> None:
    """1,500 steps on 500 images, validated five times; the search on seed 0."""
    length = ["--per-class=50", "--batch-size=50", "--epochs=5", "--set=steps_per_epoch=300"]
    for method, chosen in PAIR.items():
        words = [*NARROW, *chosen, CIFAR10, *length, *common]
        record.add(method, words, ["--epochs=2"], seeds=5)
    # Whole trials: what keeps a network from overfitting shows late.
    words = [*NARROW, *BACKPROP, CIFAR10, *length, *common]
    record.add("backprop, regularised", words, [], seeds=5, further=REGULARISED)


def transfer(record: Record, common: Sequence[str]) -> None:
    """5 epochs on five classes, then 300 steps with 100 images of each of the other five.

    The rate of the first part is not searched.
    """
    new = [f"--classes={SECOND}", "--per-class=100", "--batch-size=50"]
    new += ["--epochs=3", "--set=steps_per_epoch=100"]
    for method, chosen in PAIR.items():
        words = [*NARROW, *chosen, CIFAR10, *common]
        start = Path("runs") / f"transfer-{method.replace(', ', '-')}"
        wanted = [f"{method}: {way}" for way in ("fine-tuned", "frozen until layer3", "scratch")]
        if all(name in record.content["columns"] for name in wanted):
            continue
        first = train([*words, f"--classes={FIRST}", "--epochs=5", f"--lr={CENTRE}"], start)
        record.content.setdefault("first", {})[method] = first
        given = f"--init-from={start}"
        record.add(wanted[0], [*words, *new, given], ["--epochs=1"], seeds=3)
        frozen = [*words, *new, given, "--freeze-until=layer3"]
        record.add(wanted[1], frozen, ["--epochs=1"], seeds=3)
        record.add(wanted[2], [*words, *new], ["--epochs=1"], seeds=3)


def imagenette(record: Record, common: Sequence[str]) -> None:
    """16 epochs; trials of one."""
    data = ["--data=imagenette", "--image-size=128"]
    for method, chosen in ON_NARROW.items():
        words = [*NARROW, *chosen, *data, *common]
        record.add(method, [*words, "--epochs=16"], ["--epochs=1"])


def gpu(record: Record, common: Sequence[str]) -> None:
    """ResNet18 at its full width, 60 epochs."""
    for method, chosen in PAIR.items():
        words = ["--model=torchvision/resnet18", *chosen, CIFAR10, *common, "--amp=bf16"]
        record.add(method, [*words, "--epochs=60"], ["--epochs=4"])


def main() -> None:
    """Go on with one part."""
    parts = {
        "epochs": epochs,
        "blocks": blocks,
        "few": few,
        "transfer": transfer,
        "imagenette": imagenette,
        "gpu": gpu,
    }
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=parts)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("results"))
    args = parser.parse_args()
    common = [f"--num-threads={args.threads}", "--quiet"]
    if args.steps:
        common.append(f"--set=steps_per_epoch={args.steps}")
    parts[args.part](Record(args.part, args.out, args.only), common)


if __name__ == "__main__":
    main()
