"""One page about a trained network, in a file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from goodness.analysis.projection import project
from goodness.analysis.survey import Survey, survey
from goodness.config import resolve
from goodness.data import Split
from goodness.data.catalogue import GIVEN_NAMES
from goodness.exits.calibration import expected_calibration_error, reliability
from goodness.exits.records import Reliability
from goodness.files import write_whole
from goodness.methods import METHODS, REACH
from goodness.reports.confusion import confusion_figure
from goodness.reports.curves import curves_figure, spread
from goodness.reports.examples import choose
from goodness.reports.exits import exits_figure, reliability_figure
from goodness.reports.facts import cost_facts, machine_facts, network_facts
from goodness.reports.features import features_figure
from goodness.reports.figure import png
from goodness.reports.filters import first_filters
from goodness.reports.html import data_uri, page_bytes, templates
from goodness.results import macro_averages, shown_blocks
from goodness.sharing.folder import CURVES, SharedFolder
from goodness.training.evaluation import images_at_once
from goodness.training.run_folder import RunFolder
from goodness.wording import percent

if TYPE_CHECKING:
    from goodness.run import Run

POINTS = 300
"""Images whose features are drawn."""
FEWEST_POINTS = 4
MOST_PROJECTED = 12
"""Blocks whose features are drawn."""
MOST_CURVES_BYTES = 2**19
"""Of a picture that a shared network brings along."""


def write_page(
    run: Run,
    path: Path,
    images: Split | str,
    *,
    data: str,
    split: str,
    batch_size: int | None = None,
) -> Path:
    """Write the page.

    Args:
        run: the network with its folder.
        path: the file, replaced if it is there.
        images: those that answers are shown about; or why there are none.
        data: what they are called.
        split: the part of the data that they are.
        batch_size: images at a time; None: as many as need little memory.

    Returns:
        The file.
    """
    context = Page(run, images, Path(data).name, split, batch_size).context()
    write_whole(path, page_bytes(templates("goodness.reports"), "run.html.j2", context))
    return path


class Page:
    """What the page about a trained network says; the arguments are those of `write_page`."""

    def __init__(
        self,
        run: Run,
        images: Split | str,
        data: str,
        split: str,
        batch_size: int | None = None,
    ) -> None:
        self.run = run
        self.images = images
        self.data, self.split = data, split
        self.is_shared = SharedFolder.holds(run.folder)
        self.left_out: dict[str, str] = {}
        """By what is left out, why."""
        self._batch_size = batch_size
        self._folder = RunFolder(run.folder)

    def context(self) -> dict[str, Any]:
        """What the template is given."""
        run, config = self.run, self.run.config
        if isinstance(self.images, str):
            self.left_out["Answers, examples, calibration and features"] = self.images
        sections = {
            "curves": self._curves(),
            "answers": self._answers(),
            "examples": self._examples(),
            "calibration": self._calibration(),
            "exits": self._exits(),
            "filters": self._filters(),
            "features": self._features(),
            "cost": self._cost(),
        }
        known = config.method in METHODS.names()
        return {
            **sections,
            "title": f"{config.method} on {Path(config.data).name}",
            "name": run.name,
            "method": METHODS[config.method] if known else None,
            "reach": REACH[METHODS[config.method].locality] if known else "",
            "result": run.result,
            "data": self.data,
            "split": self.split,
            "facts": network_facts(run),
            "blocks": self._blocks(),
            "again": self._again(),
            "left_out": self.left_out,
        }

    @cached_property
    def found(self) -> Survey | None:
        """The answers about the images."""
        if isinstance(self.images, str):
            return None
        size = self._batch_size or images_at_once(self.images.image_shape)
        temperature = 1.0
        if self.run.calibration is not None:
            temperature = self.run.calibration.exits[-1].temperature
        return survey(
            self.run.network,
            self.images,
            self.run.preprocessing,
            batch_size=size,
            temperature=temperature,
        )

    @cached_property
    def _shown(self) -> list[int]:
        """The places of the blocks to show."""
        return shown_blocks([block.objective is not None for block in self.run.network])

    def _blocks(self) -> list[dict[str, str]]:
        """A row per block that is shown."""
        result, found, facts = self.run.result, self.found, self.run.network.facts()
        rows = []
        for place in self._shown:
            fact = facts[place]
            row = {
                "block": fact["name"],
                "features": " × ".join(map(str, fact["features"])),
                "parameters": f"{fact['parameters']:,}",
                "validation": percent(None if result is None else result.val.per_block[place]),
            }
            if found is not None:
                own = found.blocks[place]
                error = None
                if own is not None:
                    error = expected_calibration_error(own.confidence, found.right(own))
                row |= {self.split: percent(found.accuracy(own)), "ECE": percent(error)}
            elif result is not None and result.test is not None:
                row["test"] = percent(result.test.per_block[place])
            rows.append(row)
        return rows

    def _curves(self) -> str | None:
        """Loss and accuracy over the epochs; of a shared network the picture that it brings."""
        if history := self._folder.history():
            readout = self.run.network.readout
            return data_uri(png(curves_figure(history, "", readout), dpi=120))
        file = self.run.folder / CURVES
        if file.is_file() and file.stat().st_size <= MOST_CURVES_BYTES:
            return data_uri(file.read_bytes())
        self.left_out["Curves"] = "the folder has no metrics.jsonl"
        return None

    def _answers(self) -> dict[str, Any] | None:
        """How right the answers are, and what is taken for what."""
        if self.found is None:
            return None
        classes, found = self.run.classes, self.found
        confusion = found.confusion(len(classes)).tolist()
        return {
            "examples": len(found.y),
            "accuracy": found.accuracy(found.final),
            "macro": macro_averages(confusion),
            "picture": data_uri(png(confusion_figure(confusion, classes), dpi=100)),
            "classes": _class_rows(confusion, classes),
        }

    def _examples(self) -> Any:
        if self.found is None or isinstance(self.images, str):
            return None
        form = self.run.preprocessing
        return choose(self.found, self.images, self.run.classes, form.pixels)

    def _calibration(self) -> dict[str, Any] | None:
        """How far the probabilities of the answers can be believed."""
        if self.found is None:
            return None
        final = self.found.final
        right = self.found.right(final)
        bins = reliability(final.confidence, right)
        found = Reliability(**{name: own.tolist() for name, own in bins._asdict().items()})
        calibrated = self.run.calibration
        return {
            "picture": data_uri(png(reliability_figure(found, len(right)), dpi=110)),
            "error": expected_calibration_error(final.confidence, right),
            "confidence": float(final.confidence.double().mean()),
            "accuracy": self.found.accuracy(final),
            "temperature": None if calibrated is None else calibrated.exits[-1].temperature,
        }

    def _exits(self) -> dict[str, Any] | None:
        """Early answers, as they were calibrated."""
        found = self.run.calibration
        if found is None:
            why = (
                "it was shared without calibrated exits"
                if self.is_shared
                else "these weights are not calibrated (goodness calibrate RUN does it)"
            )
            self.left_out["Early exits"] = why
            return None
        title = f"{self.run.config.method}, {Path(self.run.config.data).name}"
        rows = zip(found.report.exits, found.exits, strict=True)
        return {
            "picture": data_uri(png(exits_figure(found, title), dpi=100)),
            "report": found.report,
            "chosen": found.margin is not None,
            "rows": [
                {
                    "block": own.block,
                    "FLOPs": f"{own.flops / max(found.report.flops_full, 1):.1%}",
                    "accuracy": percent(own.accuracy),
                    "ECE": percent(own.ece_before),
                    "ECE, calibrated": percent(own.ece_after),
                    "temperature": f"{exit_.temperature:.3g}",
                    "leave": percent(own.left),
                    "of these right": percent(own.accuracy_left),
                }
                for own, exit_ in rows
            ],
        }

    def _filters(self) -> dict[str, Any] | None:
        found = first_filters(self.run.network)
        if found is None:
            why = "the first layer has no weights over the image that can be drawn"
            self.left_out["First filters"] = why
            return None
        return {**vars(found), "picture": data_uri(found.png)}

    def _features(self) -> dict[str, Any] | None:
        """A picture per block."""
        if isinstance(self.images, str):
            return None
        if len(self.images) < FEWEST_POINTS:
            self.left_out["Features in two dimensions"] = f"{len(self.images)} images are too few"
            return None
        count = min(POINTS, len(self.images))
        order = torch.linspace(0, len(self.images) - 1, count).long()
        shape = self.images.image_shape
        batches = self.images.batches(images_at_once(shape), "cpu", order=order)
        parts = [(self.run.preprocessing.apply(pixels), y) for pixels, y in batches]
        places = spread(self._shown, MOST_PROJECTED)
        projections = project(self.run.network, (images for images, _ in parts), places)
        labels = torch.cat([y for _, y in parts]).numpy()
        return {
            "count": count,
            "blocks": [
                {
                    "name": found.name,
                    "together": float((labels[found.nearest] == labels).mean()),
                    "picture": data_uri(
                        png(features_figure(found, labels, self.run.classes), dpi=100)
                    ),
                }
                for found in projections
            ],
        }

    def _cost(self) -> dict[str, str] | None:
        """Time, memory, and the machine that they were measured on."""
        result = self.run.result
        if result is None:
            self.left_out["Time and memory"] = "the run has not ended"
            return None
        if self._environment is None:
            self.left_out["Machine and versions"] = "the folder has no environment.json"
        return cost_facts(result.train) | machine_facts(self._environment or {})

    @cached_property
    def _environment(self) -> dict[str, Any] | None:
        return self._folder.read_environment()

    def _again(self) -> dict[str, Any]:
        """What trains such a network again."""
        config = self.run.config
        values = config.model_dump(mode="json")
        if config.method in METHODS.names():
            # Readouts of the method that this run goes without would come back.
            own = resolve(values).readouts.keys() - config.readouts.keys()
            values["readouts"] |= dict.fromkeys(sorted(own))
        return {
            "typed": (self._environment or {}).get("command"),
            "yaml": yaml.safe_dump(values, sort_keys=False, allow_unicode=True),
            "given": config.data in GIVEN_NAMES,
        }


def _class_rows(
    confusion: Sequence[Sequence[int]], classes: Sequence[str]
) -> list[tuple[str, int, float | None, float | None]]:
    """Of every class its name, its images, and recall and precision where there are any."""
    rows = []
    for k, name in enumerate(classes):
        right, true, said = confusion[k][k], sum(confusion[k]), sum(row[k] for row in confusion)
        recall, precision = (right / count if count else None for count in (true, said))
        rows.append((name, true, recall, precision))
    return rows
