"""What training on ImageNet would take here, predicted from measured pieces.

    GOODNESS_DATA=... python benchmarks/scale.py

The pieces are the seconds of a step and of an answer on photographs of 128 x 128 pixels, of the
recipe ``imagenette-fast`` and of backprop in its frame. From them the time of an epoch of
Imagenette is predicted; then the epoch is trained, which gives the error. With 1,000 classes and
ImageNet's number of images the pieces give hours and bytes, and how far ranks would divide the
time. Writes ``results/scale.json`` and ``docs/scale.md``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

import goodness
from goodness.profiling.timing import block_seconds
from goodness.profiling.trial import Trial
from goodness.reports.environment import environment
from goodness.training.speed import measure
from runs import write

TRAIN, VALIDATED, CLASSES = 1_281_167, 50_000, 1_000
"""ImageNet's images and classes."""
METHODS = ("spectral-local", "backprop")
RECIPE, EPOCHS = "imagenette-fast", 30


def pieces(method: str, per_class: int, threads: int) -> dict[str, Any]:
    """The seconds of an epoch of Imagenette, predicted and measured; and the pieces of ImageNet."""
    common = {"recipe": RECIPE, "per_class": per_class, "num_threads": threads, "epochs": 1}
    planned = goodness.dry_run(method=method, **common)
    config = planned.config
    speed = measure(config)
    predicted = speed.step * speed.steps_per_epoch + speed.validation
    with tempfile.TemporaryDirectory() as scratch:
        run = goodness.fit(method=method, out=Path(scratch) / "run", final_test=False, **common)
        result = run.result
        asked = run.evaluate(split="val")
    assert result is not None
    resolved = goodness.resolve(config)
    shape = (3, resolved.image_size, resolved.image_size)
    batch = resolved.batch_size
    trial = Trial(resolved, shape, CLASSES, torch.device("cpu"), batch)
    phases, step = block_seconds(trial, 3)
    memory = trial.memory()
    blocks = [sum(block.values()) for block in phases]
    return {
        "predicted": predicted,
        "measured": result.train.seconds,
        "step": step,
        "batch": batch,
        "answer": asked.seconds / asked.examples,
        "blocks": blocks,
        "memory": dict(memory),
        "parameters": sum(p.numel() for p in trial.network.parameters()),
    }


def imagenet(found: dict[str, Any]) -> dict[str, float]:
    """Hours of the recipe's epochs on ImageNet, and the most that a rank per block would gain."""
    epoch = found["step"] / found["batch"] * TRAIN + found["answer"] * VALIDATED
    return {
        "hours": EPOCHS * epoch / 3600,
        "ranks": sum(found["blocks"]) / max(found["blocks"]),
        "bytes": found["memory"]["total"],
    }


HEAD = """# Scale, on paper

ImageNet was not trained here. What it would take is predicted from measured pieces: a step and
an answer of the recipe `imagenette-fast`, photographs of 128 x 128 pixels, with 1,000 classes,
{threads} of a CPU. The error of such a prediction is measured on Imagenette, where the same
pieces predict the time of an epoch, and the epoch is then trained.

| | epoch predicted, s | measured, s | error | ImageNet, {epochs} epochs, h | bytes | ranks |
|---|---|---|---|---|---|---|
"""
TAIL = """
*Bytes*: of a step at its worst moment, weights and optimizer included. *Ranks*: how much faster
a pipeline of a process per block can be at most, each on a machine of its own, because the
slowest block bounds it; backprop is one piece. Reading and decoding files is not in these
numbers: worker processes do it at the same time.

The record: [scale.json](../results/scale.json). `python benchmarks/scale.py` makes it again.
"""


def page(content: dict[str, Any]) -> str:
    """The table."""
    threads = content["environment"]["threads"]
    said = f"on {threads} thread{'s' * (threads > 1)}"
    text = HEAD.format(threads=said, epochs=EPOCHS)
    for method, found in content["methods"].items():
        there = imagenet(found)
        error = found["predicted"] / found["measured"] - 1
        ranks = f"{there['ranks']:.1f} x" if method != "backprop" else "–"
        cells = [f"{found['predicted']:.0f}", f"{found['measured']:.0f}", f"{error:+.0%}"]
        cells += [f"{there['hours']:,.0f}", f"{there['bytes'] / 2**20:,.0f} MiB", ranks]
        text += f"| `{method}` | {' | '.join(cells)} |\n"
    return text + TAIL


def main() -> None:
    """Measure the pieces, or write the page from the record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--per-class", type=int, default=200, help="images of the epoch, by class")
    parser.add_argument("--out", type=Path, default=Path("results/scale.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--draw", action="store_true", help="the page alone")
    args = parser.parse_args()
    if args.draw:
        content = json.loads(args.out.read_text())
    else:
        command = f"python benchmarks/scale.py --threads {args.threads}"
        content = {
            "schema": 1,
            "command": f"{command} --per-class {args.per_class}",
            "methods": {name: pieces(name, args.per_class, args.threads) for name in METHODS},
            "environment": environment(None),
        }
        write(args.out, content)
    (args.docs / "scale.md").write_text(page(content))


if __name__ == "__main__":
    main()
