"""Train the small networks that the package ships, and lay them into it.

    GOODNESS_DATA=... python benchmarks/pretrained.py [digits mnist ...]

Narrow versions of the fast recipes, in float32, so that they answer alike on every CPU: one seed,
one thread, minutes each. Everything is as a recipe has it or follows from the size, which is under
1 MB a network; nothing is chosen by an accuracy. A run that has ended is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import goodness
from goodness.sharing.locating import PACKAGED
from runs import train

NARROW = ["--set=model.widths=[32,32,64,64,64,64]"]
COMMON = ["--set=objective.widths=[24]", "--amp=none", "--num-threads=1", "--device=cpu"]
NETWORKS: dict[str, list[str]] = {
    "digits": ["--data=digits", "--set=model.widths=[16,32,64,64]"],
    "mnist": ["--recipe=mnist-fast", *NARROW],
    "fashion_mnist": ["--recipe=fashion_mnist-fast", "--epochs=6", *NARROW],
    "cifar10": ["--recipe=cifar10-fast", *NARROW],
}
"""What ``goodness train`` is told of each, beside what is common."""


def main() -> None:
    """Make the networks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*NETWORKS, []])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where trainings are kept")
    args = parser.parse_args()
    for name in args.names or NETWORKS:
        folder = args.runs / f"pretrained-{name}"
        if not (folder / "result.json").is_file():
            train([*NETWORKS[name], *COMMON], folder)
        run = goodness.load(folder, device="cpu")
        run.save_pretrained(PACKAGED / name, name=f"pretrained/{name}", overwrite=True)


if __name__ == "__main__":
    main()
