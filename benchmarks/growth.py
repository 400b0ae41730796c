"""How time and memory grow with depth, width, batch, classes and image side, beside backprop.

    python benchmarks/growth.py            # about 15 minutes of one core; may be stopped
    python benchmarks/growth.py --draw     # the page and the picture, from the record

A chain of convolutions with batch norm is changed in one way at a time; the methods and backprop
make their steps in turns. What is asked of a network after training grows too: the seconds of an
answer over the number of classes, for methods that ask about every class and for one that does not.
Writes ``results/growth.json``, ``docs/growth.png`` and ``docs/growth.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import goodness
from goodness.profiling.bench import BACKPROP, Bench, batch_sweep
from goodness.reports.environment import environment
from goodness.reports.figure import save_figure
from runs import write

METHODS = ("sff", "mono-forward", "spectral-local")
ASKED = {"ff, every label": ("ff", "sum"), "ff, readout": ("ff", "fusion"), "sff": ("sff", "last")}
"""What answers: a method and its readout."""
DEPTH, WIDTH, BATCH, CLASSES, SIDE = 8, 32, 32, 10, 32
AXES = {
    "depth": (8, 16, 32, 64),
    "width": (16, 32, 64, 128),
    "batch": (16, 32, 64, 128),
    "classes": (10, 32, 100, 316, 1000),
    "side": (32, 64, 128, 224),
}
TINY = {axis: values[:2] for axis, values in AXES.items()}
TITLES = {
    "depth": "convolutions",
    "width": "channels of each",
    "batch": "images of a step",
    "classes": "classes",
    "side": "pixels of a side",
}
LOOKS = {
    BACKPROP: ("#222222", "o"),
    "sff": ("#1b7837", "s"),
    "mono-forward": ("#762a83", "^"),
    "spectral-local": ("#2166ac", "D"),
}


def bench(axis: str, value: int, steps: int) -> Bench:
    """The network with one of its sizes changed."""
    size = {"depth": DEPTH, "width": WIDTH, "batch": BATCH, "classes": CLASSES, "side": SIDE}
    size[axis] = value
    model = {
        "name": "cnn",
        "widths": [size["width"]] * size["depth"],
        "pools": [size["depth"] * part // 4 for part in (1, 2, 3)],
        "norm": "batch",
    }
    return Bench(
        METHODS,
        model,
        image_shape=(3, size["side"], size["side"]),
        num_classes=size["classes"],
        batch=size["batch"],
        steps=steps,
    )


def answers(classes: int, turns: int) -> dict[str, float]:
    """Seconds of an answer about one of 32 images, by what answers, in turns."""
    networks = {}
    for name, (method, readout) in ASKED.items():
        model = {"name": "cnn", "widths": [WIDTH] * 4, "pools": [1, 2, 3]}
        made = goodness.build(method, image_shape=(3, SIDE, SIDE), num_classes=classes, model=model)
        networks[name] = (made.eval(), readout)
    x = torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    took: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(turns):
        for name, (network, readout) in networks.items():
            started = time.perf_counter()
            with torch.no_grad():
                network.outputs(x, [readout])
            took[name].append((time.perf_counter() - started) / len(x))
    return {name: statistics.median(values) for name, values in took.items()}


def exponent(points: dict[str, float]) -> float:
    """The slope of the line through the last two thirds of the points, both axes in logarithms."""
    logs = [(math.log(float(size)), math.log(value)) for size, value in points.items()]
    logs = logs[len(logs) // 3 :]
    sizes, values = zip(*logs, strict=True)
    return statistics.linear_regression(sizes, values).slope


def lines(content: dict[str, Any], axis: str, what: str) -> dict[str, dict[str, float]]:
    """By way and size: seconds of a step, or bytes of its activations."""
    found: dict[str, dict[str, float]] = {}
    for size, ways in content["axes"][axis].items():
        for way in (BACKPROP, *METHODS):
            images = content["sizes"][axis][size]
            value = ways[way]["activations"]
            if what == "seconds":
                value = images / ways[way]["images_per_second"]
            found.setdefault(way, {})[size] = value
    return found


def draw(content: dict[str, Any], path: Path) -> None:
    """Seconds in the first row, bytes in the second, a column for each way to grow."""
    figure = Figure(figsize=(13, 5.4), layout="constrained")
    panels = figure.subplots(2, len(AXES))
    for column, axis in enumerate(AXES):
        for row, (what, unit) in enumerate((("seconds", 1e-3), ("activations", 2**20))):
            axes = panels[row][column]
            for way, points in lines(content, axis, what).items():
                colour, marker = LOOKS[way]
                sizes = [int(size) for size in points]
                values = [value / unit for value in points.values()]
                axes.loglog(sizes, values, marker=marker, color=colour, label=way, markersize=4)
            sizes = [int(size) for size in content["axes"][axis]]
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
            axes.grid(color="#e5e5e5")
            axes.spines[["top", "right"]].set_visible(False)
            if row:
                axes.set_xlabel(TITLES[axis])
        panels[0][0].set_ylabel("ms of a step")
        panels[1][0].set_ylabel("MiB of activations")
    panels[0][0].legend(frameon=False, fontsize=8)
    save_figure(figure, path, dpi=110)


HEAD = """# How it grows

A chain of {depth} convolutions of {width} channels with batch norm and three poolings, {batch}
images of {side} x {side} pixels, {classes} classes; one of these sizes is changed at a time. The
methods and backprop make their steps in turns, on {threads} of a CPU beside other work; each
number is a median of {steps} steps. *Exponent*: p where the cost grows as size^p, from the
larger sizes.

![time and memory over depth, width, batch, classes and image side](growth.png)

"""


READ = """Read: local methods need the activations of one block, so depth costs no memory. All
costs but that grow as backprop's do. Maps of every class (`sff`) grow with the classes, in time
and memory: beyond some thirty classes this network needs more for them than backprop needs for
all of its layers.

"""


def page(content: dict[str, Any]) -> str:
    """The exponents, and how answers grow."""
    threads = content["environment"]["threads"]
    text = HEAD.format(
        depth=DEPTH,
        width=WIDTH,
        batch=BATCH,
        side=SIDE,
        classes=CLASSES,
        steps=content["steps"],
        threads=f"{threads} thread{'s' * (threads > 1)}",
    )
    for what, title in (("seconds", "Time of a step"), ("activations", "Activations of a step")):
        text += f"| {title}: exponent | {' | '.join((BACKPROP, *METHODS))} |\n"
        text += "|---" * (len(METHODS) + 2) + "|\n"
        for axis in AXES:
            found = lines(content, axis, what)
            cells = [f"{exponent(found[way]):.2f}" for way in (BACKPROP, *METHODS)]
            text += f"| {TITLES[axis]} | {' | '.join(cells)} |\n"
        text += "\n"
    text += READ
    text += (
        "A method that asks about every class needs K passes for an answer. A readout with weights"
        " of its own\ntakes one, on images with a neutral label; of more than 20 classes it is what"
        " answers.\nMilliseconds of an answer:\n\n"
    )
    text += f"| classes | {' | '.join(ASKED)} |\n" + "|---" * (len(ASKED) + 1) + "|\n"
    for classes, found in content["answers"].items():
        cells = [f"{1e3 * found[name]:.2f}" for name in ASKED]
        text += f"| {int(classes):,} | {' | '.join(cells)} |\n"
    return text + (
        "\nThe record: [growth.json](../results/growth.json). `python benchmarks/growth.py` makes"
        " it again,\n`--draw` this page.\n"
    )


def main() -> None:
    """Measure what is missing of the record, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="the two smallest sizes of each")
    parser.add_argument("--out", type=Path, default=Path("results/growth.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    content: dict[str, Any] = {"schema": 1, "steps": args.steps, "axes": {}, "sizes": {}}
    content["answers"] = {}
    if args.out.exists():
        content = json.loads(args.out.read_text())
    if not args.draw:
        content["command"] = f"python benchmarks/growth.py --threads {args.threads}"
        content["environment"] = environment(None)
        for axis, values in (TINY if args.tiny else AXES).items():
            for value in values:
                measured = content["axes"].setdefault(axis, {})
                if str(value) in measured:
                    continue
                print(f"{axis} {value}", flush=True)
                one = bench(axis, value, args.steps)
                (found,) = batch_sweep(one, [one.batch], lambda text: None)
                measured[str(value)] = found["ways"]
                content["sizes"].setdefault(axis, {})[str(value)] = one.batch
                write(args.out, content)
        for classes in (TINY if args.tiny else AXES)["classes"]:
            if str(classes) not in content["answers"]:
                print(f"answers about {classes} classes", flush=True)
                content["answers"][str(classes)] = answers(classes, 3)
                write(args.out, content)
    draw(content, args.docs / "growth.png")
    (args.docs / "growth.md").write_text(page(content))


if __name__ == "__main__":
    main()
