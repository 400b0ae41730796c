"""The model card: what a shared network is, how it learnt, what was measured, how to load it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodness.errors import InputError
from goodness.methods import METHODS, REACH
from goodness.results import Result, SplitResult, shown_blocks
from goodness.sharing.hub import client
from goodness.wording import percent

if TYPE_CHECKING:
    from goodness.run import Run

SPLITS = {"val": "validation", "test": "test"}
MOST_CLASSES = 20
"""More of them are counted, not named."""


def card(run: Run, name: str) -> str:
    """The text of ``README.md``, with the Hub's metadata in front.

    Args:
        run: whose network.
        name: what loads it, e.g. ``"hf:user/name"``.

    Raises:
        InputError: the package that makes it is not installed.
    """
    hub = client()
    config, result, data = run.config, run.result, Path(run.config.data).name
    if config.method not in METHODS.names():
        raise InputError(f"method '{config.method}' is not known; import what registers it first")
    method = METHODS[config.method]
    metadata = hub.ModelCardData(
        model_name=name.rpartition("/")[2] or name,
        library_name="goodness",
        pipeline_tag="image-classification",
        tags=["image-classification", "local-learning", "forward-only", method.name],
        datasets=[data],
        metrics=["accuracy"],
        eval_results=_eval_results(result, data) or None,
    )
    content = hub.ModelCard.from_template(
        metadata,
        template_path=str(files("goodness.sharing") / "templates" / "card.md.j2"),
        name=name,
        data=_line(data),
        method=method,
        reach=REACH[method.locality],
        facts=_facts(run),
        splits=_splits(result),
        blocks=_blocks(run),
        result=result,
        exits=None if run.calibration is None else run.calibration.report,
        curves=(run.folder / "curves.png").is_file(),
        imports=[_line(Path(path).name) for path in config.imports],
    )
    return str(content)


def _eval_results(result: Result | None, data: str) -> list[Any]:
    """The test accuracy as the Hub lists it."""
    if result is None or result.test is None:
        return []
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=data,
            dataset_name=data,
            dataset_split="test",
            metric_type="accuracy",
            metric_name="accuracy",
            metric_value=round(result.test.accuracy, 6),
        )
    ]


def _facts(run: Run) -> dict[str, str]:
    """What the network is, line by line."""
    network, preprocessing = run.network, run.preprocessing
    colour = "grey" if preprocessing.channels == 1 else "colour"
    classes = ", ".join(map(_line, run.classes))
    few = len(run.classes) <= MOST_CLASSES
    return {
        "model": f"`{run.config.model['name']}`, {len(network)} blocks"
        f" (`--partition {run.config.partition['name']}`)",
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}, heads included",
        "input": f"{colour}, {preprocessing.height} x {preprocessing.width} pixels",
        "classes": f"{len(run.classes)}: {classes}" if few else str(len(run.classes)),
        "answer": f"readout `{network.readout}`"
        + (", mean of an image and its mirror image" if run.config.flip_test else ""),
        "mixed precision": run.config.amp,
    }


def _splits(result: Result | None) -> dict[str, SplitResult]:
    """What was measured, by part of the data."""
    if result is None:
        return {}
    found = {title: getattr(result, key) for key, title in SPLITS.items()}
    return {title: split for title, split in found.items() if split is not None}


def _blocks(run: Run) -> list[tuple[str, list[str]]]:
    """Every block's name and its own accuracy on each part."""
    splits = _splits(run.result).values()
    if not splits:
        return []
    shown = shown_blocks([block.objective is not None for block in run.network])
    return [
        (_line(run.network.names[i]), [percent(split.per_block[i]) for split in splits])
        for i in shown
    ]


def _line(name: str) -> str:
    """A name of the user's that neither ends a table's cell nor begins a tag."""
    plain = " ".join(name.encode(errors="replace").decode().split())
    return plain.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
