"""What training, evaluation and prediction give back. Accuracies are fractions, 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import TypeAdapter

SCHEMA = 1
"""Version of what these become as JSON; it rises when a field changes its meaning or goes."""
FEW_BLOCKS = 10
RecordType = TypeVar("RecordType", bound="Record")


@dataclass(frozen=True)
class Record:
    """Values by name; as JSON an object with the same names (``class`` for ``class_name``)."""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers."""
        return asdict(self, dict_factory=_named)

    @classmethod
    def from_json(cls: type[RecordType], content: Mapping[str, Any]) -> RecordType:
        """Take back what `to_json` gave; names of other versions are left out.

        Raises:
            ValueError: a value is missing or of another type.
        """
        return cast(RecordType, _adapter(cast(Any, cls)).validate_python(content))


def _named(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {"class" if name == "class_name" else name: value for name, value in items}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


# While a network is trained.


@dataclass(frozen=True)
class BlockTraining(Record):
    """A block over the training images of an epoch so far."""

    name: str
    loss: float | None
    """The mean; None where the block has no loss of its own."""
    accuracy: float | None
    """Of its own scores; None where it has none."""


@dataclass(frozen=True)
class EpochTraining(Record):
    """Training in one epoch."""

    blocks: list[BlockTraining]
    """In network order."""


@dataclass(frozen=True)
class EpochValidation(Record):
    """Validation after one epoch."""

    accuracy: float
    """Of the readout that answers."""
    readout: str
    """Its name."""
    readouts: dict[str, float]
    """Every readout's accuracy."""
    per_block: list[float | None]
    """Every block's own accuracy, in network order; None where it has no scores."""


@dataclass(frozen=True)
class EpochRow(Record):
    """One epoch of a run: a line of ``metrics.jsonl``."""

    epoch: int
    """Counted from 1."""
    step: int
    """Steps done by its end."""
    seconds: float
    """Since the run's start, of training and validation; saving and reports are left out."""
    images_per_second: float | None
    """In the steps alone; None within the first ones."""
    data_share: float
    """Part of a step that data and augmentation take, 0 to 1."""
    learning_rate: float
    """At its last step."""
    train: EpochTraining
    val: EpochValidation
    joules: float | None = None
    """In these seconds; None where nothing counts them."""


@dataclass(frozen=True)
class Best(Record):
    """The epoch whose weights are kept so far."""

    epoch: int = 0
    """Counted from 1; 0 before the first one has ended."""
    accuracy: float = 0.0
    """On validation."""
    readout: str = ""
    """The readout that answers."""
    highest: float = 0.0
    """The highest validation accuracy of any epoch."""


@dataclass(frozen=True)
class Status:
    """Where a run is at this moment, in an epoch."""

    blocks: list[BlockTraining]
    images_per_second: float | None
    eta: float | None
    """Seconds that are left; None while the speed is not known."""


def standard_error(accuracy: float, examples: int) -> float:
    """Of a fraction measured on that many examples.

    Epochs within one standard error of the highest validation accuracy are equals, and the latest
    of them is the best: on a few hundred images a lucky early epoch is no better than the ones
    after the learning rate has fallen. Two right and two wrong answers are added (Agresti and
    Coull): without them nothing would be equal to an epoch that has all answers right.
    """
    share = (accuracy * examples + 2) / (examples + 4)
    return math.sqrt(share * (1 - share) / (examples + 4))


def learning_blocks(history: Sequence[EpochRow]) -> list[bool]:
    """Whether each block has a loss of its own in some epoch."""
    epochs = zip(*(row.train.blocks for row in history), strict=True)
    return [any(block.loss is not None for block in rows) for rows in epochs]


def shown_blocks(learning: Sequence[bool]) -> list[int]:
    """The places of the blocks to show: all of few, of many those that have a loss of their own.

    Args:
        learning: whether each block has one.
    """
    places = [place for place, learns in enumerate(learning) if learns]
    return places if places and len(learning) > FEW_BLOCKS else list(range(len(learning)))


def weaker_blocks(per_block: Sequence[float | None], examples: int) -> list[int]:
    """The places of blocks that answer worse than one before them, by two standard errors.

    Args:
        per_block: every block's own accuracy; None where it has no scores.
        examples: images that they were measured on.
    """
    weaker, best = [], 0.0
    for place, accuracy in enumerate(per_block):
        if accuracy is None:
            continue
        if accuracy < best - 2 * standard_error(best, examples):
            weaker.append(place)
        best = max(best, accuracy)
    return weaker


# What comes out of it.


@dataclass(frozen=True)
class BlockDiagnosis(Record):
    """What `diagnose` finds of a block."""

    name: str
    accuracy: float | None
    """Of its own scores; None where it has none."""
    channels: int
    dead_channels: int
    """Those that are the same at every position of every image."""
    feature_rank: float
    """Effective rank of its features, from 1 to the channels."""
    signal_rank: float | None
    """Effective rank of the gradient by its features; None where none reaches it."""


@dataclass(frozen=True)
class SplitResult(Record):
    """Accuracy on one split."""

    accuracy: float
    """Of the readout that answers."""
    top5: float | None
    """How often the true class is among the best five; None of at most 5 classes."""
    per_block: list[float | None]
    """Every block's own accuracy, in network order; None where it has no scores."""
    readout: str
    """Which readout answers."""
    readouts: dict[str, float]
    """Every readout's accuracy."""
    examples: int
    """Images."""
    seconds: float


@dataclass(frozen=True)
class Evaluation(SplitResult):
    """What `Run.evaluate` finds."""

    data: str
    """The name or folder of the data."""
    split: str
    """``"train"``, ``"val"`` or ``"test"``."""
    blocks: list[str]
    """The blocks' names."""
    confusion: list[list[int]]
    """(K, K) counts of images, the true class by the answer."""
    precision: float
    """Mean over the classes of how often an answer is right (macro average)."""
    recall: float
    """Mean over the classes of how often their images are found."""
    f1: float
    """Mean over the classes of the harmonic mean of both."""


class MacroAverages(NamedTuple):
    """Means over classes, 0 to 1."""

    precision: float
    recall: float
    f1: float


def macro_averages(confusion: Sequence[Sequence[int]]) -> MacroAverages:
    """Precision, recall and F1, each the mean over the classes that occur or are answered.

    A class that is never answered has precision 0, and one that never occurs recall 0, as in
    scikit-learn with ``average="macro"`` and ``zero_division=0``.

    Args:
        confusion: (K, K) counts, the true class by the answer.
    """
    rows = []
    for label, answers in enumerate(confusion):
        right, true = answers[label], sum(answers)
        said = sum(row[label] for row in confusion)
        if true + said:
            rows.append((right / max(said, 1), right / max(true, 1), 2 * right / (true + said)))
    return MacroAverages(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))


@dataclass(frozen=True)
class TrainFigures(Record):
    """What training took."""

    seconds: float
    """Of training and validation; the test, saving and reports are left out."""
    images_per_second: float | None
    """In the steps alone, without the first ones."""
    data_share: float
    """Part of a step that data and augmentation take, 0 to 1."""
    peak_memory_bytes: int
    """CUDA: the allocator's peak; CPU: the largest resident set of the process."""
    parameters: int
    joules: float | None
    """None where nothing counts them."""
    joules_source: str | None
    """``"nvml"`` or ``"rapl"``."""
    epochs: int
    """Epochs trained."""
    best_epoch: int
    """The one whose weights are kept, counted from 1."""
    trained_parameters: int | None = None
    """Those that an optimizer updates, heads and readouts included."""


@dataclass(frozen=True)
class Result(Record):
    """The end of a run: the content of ``result.json``."""

    schema: int
    method: str
    data: str
    blocks: list[str]
    """The blocks' names."""
    val: SplitResult
    test: SplitResult | None
    """None where ``final_test`` is off."""
    train: TrainFigures


@dataclass(frozen=True)
class BlockPrediction(Record):
    """What one block alone says about an image; None where it has no scores."""

    name: str
    class_name: str | None
    probability: float | None


@dataclass(frozen=True)
class Prediction(Record):
    """What a network says about an image."""

    file: str
    class_name: str
    index: int
    """The class's number."""
    probability: float
    """Softmax of the readout that answers, 0 to 1."""
    blocks: list[BlockPrediction]
    """In network order."""


@dataclass(frozen=True)
class ExportAccuracy(Record):
    """Test accuracy of an exported model."""

    accuracy: float
    """Of the readout that answers."""
    exits: list[float | None] | None
    """After every block, None where it has no scores; None of a model without exits."""


@dataclass(frozen=True)
class RunSummary(Record):
    """A run in a list of runs."""

    path: str
    """Its folder."""
    state: str
    """``"finished"``, ``"training"``, ``"stopped"``, or ``"damaged"``, with the reason."""
    method: str | None = None
    data: str | None = None
    model: str | None = None
    epoch: int = 0
    """The last one that has ended, counted from 1."""
    epochs: int | None = None
    """All that were asked for."""
    val: float | None = None
    """Accuracy on validation in the best epoch."""
    test: float | None = None
    """Accuracy on the test images; None where they were not asked."""
    date: str | None = None
    """When it began, ISO 8601."""


@dataclass(frozen=True)
class Exported(Record):
    """What `Run.export` has written."""

    path: str
    format: str
    bytes: int
    """Size of the file, or of all programs."""
    readout: str | None = None
    """The readout that answers; None of weights and of programs that learn."""
    before: ExportAccuracy | None = None
    """Before it was quantised, under the same runtime."""
    after: ExportAccuracy | None = None
    """Of the file itself, where it was quantised."""


@dataclass(frozen=True)
class EarlyPrediction(Record):
    """What a network says about an image as soon as it is sure."""

    file: str
    class_name: str
    index: int
    """The class's number."""
    probability: float
    """Calibrated, 0 to 1."""
    exit: str
    """The block behind which the image left."""
    depth: int
    """How many blocks it passed."""


# Before it is trained.


@dataclass(frozen=True)
class DryRun(Record):
    """What a run would be."""

    config: dict[str, Any]
    """The resolved configuration."""
    blocks: list[dict[str, Any]]
    """Of every block its name, shapes (C, H, W), parameters and its objective's facts."""
    parameters: int
    train_examples: int
    epochs: int
    seconds_per_epoch: float
    """Told from a few steps."""
    cache_bytes: int | None
    """The largest size of cached features on disk; None without a cache."""
    image_bytes: int
    """Decoded images that are kept in memory; 0 where they are decoded at every use."""
    step_bytes: int | None
    """Weights, optimizer state, gradients and activations of a training step at its worst moment;
    None with ``compile``, whose memory is not known."""


@dataclass(frozen=True)
class Speed(Record):
    """How fast a configuration trains on a machine, in seconds."""

    step: float
    validation: float
    steps_per_epoch: int
    learns: bool
    """Whether there is anything that a learning rate is for."""
