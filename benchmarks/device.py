"""Memory that training on a device plans: the largest block against backprop's whole graph.

    python benchmarks/device.py [--json results/device.json]

ExecuTorch plans memory when a program is made, so that the numbers are exact and the same on every
machine; nothing is run. Activations, gradients, input and output are counted. Weights are not: but
for the heads they are the same. Needs the extra ``executorch``.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from goodness import build
from goodness.export.training import TrainingPlan, backprop_plan, training_plans
from goodness.files import write_json
from goodness.reports.environment import environment
from goodness.results import SCHEMA

NETWORKS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "small-cnn": ("small-cnn", (1, 28, 28)),
    "vgg8": ("vgg8", (3, 32, 32)),
    "vgg11": ("vgg11", (3, 32, 32)),
}
METHODS = ("sff", "mono-forward", "asge-fast")
BATCHES = (1, 8)


def main() -> None:
    """Plan all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where the record goes")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows = [row for name in NETWORKS for batch in BATCHES for row in planned(name, batch)]
    if asked.json:
        head = environment(" ".join(["python", *sys.argv]), torch.device("cpu"))
        write_json(asked.json, {"schema": SCHEMA, "environment": head, "rows": rows})


def planned(name: str, batch: int) -> list[dict[str, Any]]:
    """Of a network, backprop's record and each method's."""
    model, shape = NETWORKS[name]
    values = {"model": {"name": model, "norm": "layer"}, "image_shape": shape, "num_classes": 10}
    rows = []
    for method in METHODS:
        network = build(method, **values)
        if not rows:
            rows.append(row(name, batch, "backprop", [backprop_plan(network, batch)]))
        rows.append(row(name, batch, method, training_plans(network, batch)))
        rows[-1]["of_backprop"] = rows[-1]["largest_bytes"] / rows[0]["largest_bytes"]
        print(name, batch, method, f"{rows[-1]['of_backprop']:.1%}", file=sys.stderr, flush=True)
    return rows


def row(name: str, batch: int, method: str, plans: list[TrainingPlan]) -> dict[str, Any]:
    """A line of the table."""
    return {
        "network": name,
        "image_shape": list(NETWORKS[name][1]),
        "batch": batch,
        "method": method,
        "largest_bytes": max(plan.lowered.planned_bytes for plan in plans),
        "planned_bytes": [plan.lowered.planned_bytes for plan in plans],
        "weight_bytes": sum(plan.weight_bytes for plan in plans),
    }


if __name__ == "__main__":
    main()
