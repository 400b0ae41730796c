"""What calibration finds: the content of ``exits.json``. Accuracies are fractions, 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from goodness.errors import InputError
from goodness.types import Finite, NonNegative, NonNegativeInt, Positive, PositiveInt, Share


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class CalibratedExit(_Strict):
    """How a block's answer is calibrated, and when it is the last one."""

    block: str
    """Its name."""
    index: NonNegativeInt
    """Its place in the network, from 0."""
    temperature: Positive
    thresholds: list[Finite | None]
    """(K,), the confidence in each class from which on an image leaves; null: it goes on. All are
    0 at the last block."""


class Reliability(_Strict):
    """Answers in bins of equal width by their confidence; see `goodness.exits.calibration.Bins`."""

    confidence: list[Finite]
    accuracy: list[Share]
    share: list[Share]


class ExitFigures(_Strict):
    """What was measured of one exit."""

    block: str
    flops: NonNegativeInt
    """Per image that leaves here, heads of the exits before it included."""
    accuracy: Share
    """Of the answers here about all images."""
    ece_before: Share
    """Expected calibration error at temperature 1."""
    ece_after: Share
    """The same at the exit's temperature."""
    left: Share
    """Part of the images that leaves here."""
    accuracy_left: Share | None
    """Of these; null where none leaves."""
    before: Reliability
    after: Reliability


class Latency(_Strict):
    """Seconds per image."""

    alone_full: NonNegative
    """One image at a time, through the whole network."""
    alone_early: NonNegative
    """One image at a time, with exits."""
    batch: PositiveInt
    """Images in a batch."""
    batch_full: NonNegative
    batch_early: NonNegative
    """In a batch, from which images that have left are dropped."""
    device: str
    num_threads: PositiveInt


class ExitReport(_Strict):
    """Early exits on some images."""

    data: str
    split: str
    """``"val"`` of a calibration is the half that nothing was chosen on."""
    examples: PositiveInt
    accuracy_full: Share
    """Of the whole network."""
    accuracy: Share
    """With exits."""
    flops_full: NonNegativeInt
    """Per image through the whole network, with the heads alone that its answer takes."""
    flops: NonNegative
    """Per image with exits, the mean."""
    exits: list[ExitFigures]
    """In network order; the last one is the whole network."""
    latency: Latency

    @property
    def saved(self) -> float:
        """Part of the FLOPs that early exits save; below 0 where their heads cost more."""
        return 1 - self.flops / self.flops_full if self.flops_full else 0.0


class MarginFigures(_Strict):
    """What a margin gives on the half of validation that nothing is chosen on."""

    margin: Finite
    accuracy: Share
    flops: NonNegative
    """Per image, the mean."""


class Calibration(_Strict):
    """The content of ``exits.json``."""

    # Not `schema`, which pydantic's models have as a method.
    version: Literal[1] = Field(default=1, alias="schema")
    epoch: NonNegativeInt
    """Of the weights that were calibrated."""
    readout: str
    tolerance: NonNegative
    """The loss of accuracy that was allowed where thresholds were chosen."""
    support: PositiveInt
    margin: Finite | None
    """The chosen one; null where none is within the tolerance, so that all images go through."""
    exits: list[CalibratedExit]
    """Every block that has an answer, in network order; the last one is the last block."""
    margins: list[MarginFigures]
    report: ExitReport
    """On the half of validation that nothing was chosen on."""

    def check(self, blocks: Sequence[str], classes: int, where: str) -> None:
        """Refuse what is of another network.

        Args:
            blocks: the network's.
            classes: how many it has.
            where: the file, for the error.

        Raises:
            InputError: exits of other blocks or classes, or none of the last block.
        """
        places = [own.index for own in self.exits]
        fits = (
            places == sorted(set(places))
            and places[-1:] == [len(blocks) - 1]
            and places[0] >= 0
            and all(own.block == blocks[own.index] for own in self.exits)
            and all(len(own.thresholds) == classes for own in self.exits)
            and len(self.report.exits) == len(self.exits)
        )
        if not fits:
            raise InputError(f"{where} is damaged: its exits are of another network")
