"""HCL-FF's ablation on CIFAR-10, with a small network and few epochs.

    GOODNESS_DATA=... python benchmarks/hierarchy.py

The paper's (arXiv 2605.24797) is with 17 layers and 1000 epochs. Here six layers train for
``--epochs``, from a quarter of its rate and with its other values: without clusters and contrast
(`deeperforward` with augmentation), with one of them, with both; and both with clusters from
elsewhere: of the classifier of a run without clusters, as the paper has them on CIFAR-10, and index
blocks, which say nothing of the classes.
The answer of all is the layers' summed goodness, or ``--readout``.

Writes ``results/hierarchy.json``, where finished runs are left alone.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from torch.nn import functional as F

import goodness
from runs import train, write

NETWORK = [
    "--set=model.widths=[20,20,40,40,80,80]",
    "--set=model.pools=[1,3]",
    "--lr=0.02",
]
ALONE, PLAIN = "--set=objective.tree=null", "--set=objective.contrast=0"
VARIANTS = {
    "neither": [ALONE, PLAIN],
    "contrast": [ALONE],
    "clusters": [PLAIN],
    "both": [],
    "both, clusters of a classifier": [],
    "both, index blocks": [ALONE, "--set=objective.coarse=0.5"],
}
TREE_OF = "contrast"
"""The variant whose classifier tells which classes resemble each other."""


def tree_of(folder: Path) -> list[list[int]]:
    """The tree of the rows of a run's output layer, of unit length."""
    output = goodness.load(folder, device="cpu").network.readouts["output"]
    return goodness.class_tree(F.normalize(output.maps[0].weight))


def measure(path: Path, common: list[str]) -> dict[str, Any]:
    """Train what is missing."""
    record: dict[str, Any] = {"schema": 1, "runs": {}}
    if path.exists():
        record = json.loads(path.read_text())
    record["command"] = f"python benchmarks/hierarchy.py {shlex.join(sys.argv[1:])}".strip()
    for name, words in VARIANTS.items():
        if name in record["runs"]:
            continue
        if name == "both, clusters of a classifier":
            words = [f"--set=objective.tree={json.dumps(record['runs'][TREE_OF]['tree'])}"]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "run"
            found = train(["--method=hcl-ff", "--data=cifar10", *NETWORK, *common, *words], folder)
            if name == TREE_OF:
                found["tree"] = tree_of(folder)
        record["runs"][name] = found
        write(path, record)
        print(f"{name}: {found['test']['accuracy']:.4f}", file=sys.stderr)
    return record


def main() -> None:
    """Train every variant."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, help="of an epoch, to try the script out")
    parser.add_argument("--readout", default="sum")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/hierarchy.json"))
    args = parser.parse_args()
    common = [
        f"--epochs={args.epochs}",
        f"--readout={args.readout}",
        f"--num-threads={args.threads}",
    ]
    if args.steps:
        common.append(f"--set=steps_per_epoch={args.steps}")
    measure(args.out, common)


if __name__ == "__main__":
    main()
