"""A network, its training and its machine in a few lines each, a name and a text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodness.memory import in_units
from goodness.results import TrainFigures
from goodness.wording import duration

if TYPE_CHECKING:
    from goodness.run import Run

COLOURS = {1: "grey", 3: "colour"}


def network_facts(run: Run) -> dict[str, str]:
    """What a network is, and how it was trained."""
    config, network, form = run.config, run.network, run.preprocessing
    colour = COLOURS.get(form.channels, f"{form.channels} channels")
    return {
        "data": Path(config.data).name,
        "images": f"{colour}, {form.height} × {form.width} pixels",
        "classes": str(len(run.classes)),
        "model": f"{config.model['name']}, {len(network)} blocks"
        f" (partition: {config.partition['name']})",
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}, heads included",
        "objective": config.objective["name"],
        "plan": config.plan["name"],
        "optimizer": f"{config.optimizer['name']}, learning rate {config.optimizer['lr']:g},"
        f" schedule {config.lr_schedule['name']}",
        "length": f"{config.epochs} epochs, batches of {config.batch_size}",
        "seed": str(config.seed),
        "answer": f"readout {network.readout}"
        + (", mean of an image and its mirror image" if config.flip_test else ""),
    }


def cost_facts(train: TrainFigures) -> dict[str, str]:
    """What a training took."""
    facts = {
        "training and validation": duration(train.seconds),
        "epochs": f"{train.epochs}, the best on validation is {train.best_epoch}",
        "part of a step that data takes": f"{train.data_share:.1%}",
        "peak memory": in_units(train.peak_memory_bytes),
    }
    if train.images_per_second is not None:
        facts["images per second"] = f"{train.images_per_second:,.0f} in the steps alone"
    if train.trained_parameters is not None:
        facts["trained parameters"] = f"{train.trained_parameters:,}"
    if train.joules is not None:
        facts["energy"] = f"{train.joules:,.0f} J ({train.joules_source})"
    return facts


def machine_facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """The machine and the versions, from ``environment.json``; what it lacks is left out."""
    names = ("device", "processor", "cpu_count", "threads", "platform", "date")
    said = {name.replace("cpu_count", "cores"): environment.get(name) for name in names}
    said["versions"] = ", ".join(
        f"{name} {environment[name]}"
        for name in ("goodness", "torch", "torchvision", "python")
        if environment.get(name)
    )
    if git := environment.get("git"):
        said["commit"] = git["commit"] + (", with changes" if git["dirty"] else "")
    return {name: str(value) for name, value in said.items() if value}
