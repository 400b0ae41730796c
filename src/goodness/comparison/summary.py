"""What the runs of a comparison amount to, one row per entry."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from goodness.comparison.entry import Entry
from goodness.comparison.protocol import adaptations
from goodness.comparison.study import Study
from goodness.comparison.verdict import Difference, difference
from goodness.methods import METHODS, baseline
from goodness.readout import READOUTS
from goodness.results import EpochRow, Result, weaker_blocks

TARGET = 0.95
"""Part of the best method's validation accuracy that counts as arrival."""
OFF_BUDGET = 0.05
"""Seconds further than this from the budget are marked."""
MANY_PARAMETERS = 1.5
"""Times the baseline's trained parameters that are worth a word."""


@dataclass(frozen=True)
class Arrival:
    """What it took until validation first reached the target; means over the seeds that did."""

    seeds: int
    """How many reached it."""
    seconds: float | None = None
    images: float | None = None
    """Images learnt from, each as often as it was seen."""
    joules: float | None = None


@dataclass
class Row:
    """One entry; lists are per seed, fractions 0 to 1."""

    method: str
    """The entry's name."""
    title: str
    locality: str
    note: str
    baseline: bool = False
    """Whether it is the baseline, in whatever size."""
    refused: str | None = None
    lr: float | None = None
    found: dict[str, Any] = field(default_factory=dict)
    """By searched key its ``value``, whether it is ``at_end`` of what was ``tried``, or why not."""
    trials: int = 0
    trial_seconds: float = 0.0
    """Of all trials together."""
    accuracies: list[float] = field(default_factory=list)
    val_accuracies: list[float] = field(default_factory=list)
    test_examples: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    """How many seeds each readout answered."""
    learnt: bool = False
    """Whether one that answered is trained on the blocks' features."""
    own: float | None = None
    """Mean test accuracy by the blocks' own scores: of the readouts without weights the one that is
    best on validation; None where there is none."""
    blocks: list[str] = field(default_factory=list)
    per_block: list[list[float | None]] = field(default_factory=list)
    dead_channels: list[tuple[int, int]] = field(default_factory=list)
    """Of every block those that never change, and all; of the first seed."""
    histories: list[list[EpochRow]] = field(default_factory=list)
    seconds: float | None = None
    """Mean per seed."""
    run_seconds: list[float] = field(default_factory=list)
    off_budget: bool = False
    """Whether a trained entry's seconds are far from the budget."""
    images_per_second: float | None = None
    peak_memory_bytes: float | None = None
    """CUDA: the allocator's peak; CPU: the largest resident set of the process."""
    joules: float | None = None
    """Mean per seed, where the hardware counts them."""
    parameters: int | None = None
    trained_parameters: int | None = None
    """Those that an optimizer updates, heads and the readout that answers included."""
    steps: float | None = None
    epochs: float | None = None
    """Passes over the training images."""
    arrival: Arrival = Arrival(0)
    published: float | None = None
    difference: Difference | None = None
    """To the baseline."""

    @property
    def mean(self) -> float | None:
        """Mean test accuracy."""
        return statistics.mean(self.accuracies) if self.accuracies else None

    @property
    def std(self) -> float | None:
        """Standard deviation between seeds; None for one."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


def summarise(study: Study) -> tuple[list[Row], float | None]:
    """The rows of a comparison and the target: the baseline, in other sizes, the others best first.

    By default the target is a part of the best entry's validation accuracy, the mean over seeds of
    the highest one of each.
    """
    rows = [_row(study, entry) for entry in study.entries.values()]
    highest = [
        statistics.mean(max(epoch.val.accuracy for epoch in history) for history in row.histories)
        for row in rows
        if row.histories and all(row.histories)
    ]
    target = study.target
    if target is None and highest:
        target = TARGET * max(highest)
    against = next((row for row in rows if row.method == baseline() and row.accuracies), None)
    for row, entry in zip(rows, study.entries.values(), strict=True):
        if target is not None and row.histories:
            row.arrival = _arrival(row.histories, target, study.config(entry).batch_size)
        if against is not None and row is not against and row.accuracies:
            row.difference = difference(row.accuracies, against.accuracies, row.test_examples)
    return sorted(rows, key=_order), target


def _order(row: Row) -> tuple[bool, bool, float]:
    return not row.baseline, row.baseline and row.method != baseline(), -(row.mean or -1)


def _row(study: Study, entry: Entry) -> Row:
    method, folder = METHODS[entry.method], study.folder(entry)
    data = Path(study.terms.data).name
    row = Row(
        entry.name,
        method.title,
        method.locality.value,
        adaptations(entry.method, study.terms.protocol),
        baseline=method.baseline,
        published=None if entry.matches else method.published.get(data),
    )
    row.refused = folder.refused
    plan = folder.plan
    if plan is not None:
        row.lr, row.found = plan["run"].get("lr"), plan["found"]
    row.trials = len(folder.trials)
    row.trial_seconds = sum(trial["seconds"] or 0.0 for trial in folder.trials)
    finished = [run for run in folder.runs if run.result_file.exists()]
    row.histories = [run.history() for run in finished]
    if finished and (blocks := folder.read(folder.diagnosis(finished[0]))):
        row.dead_channels = [(block["dead_channels"], block["channels"]) for block in blocks]
    results = [result for run in finished if (result := run.read_result()) is not None]
    if results:
        _add_results(row, results)
        row.steps = statistics.mean(history[-1].step for history in row.histories)
        if plan is not None:
            row.epochs = round(row.steps / plan["speed"]["steps_per_epoch"], 1)
        row.off_budget = bool(row.trials) and any(
            abs(seconds / study.terms.budget - 1) > OFF_BUDGET for seconds in row.run_seconds
        )
    return row


def _add_results(row: Row, results: Sequence[Result]) -> None:
    tests = [result.test for result in results if result.test is not None]
    row.accuracies = [test.accuracy for test in tests]
    row.val_accuracies = [result.val.accuracy for result in results]
    row.test_examples = min((test.examples for test in tests), default=0)
    row.per_block = [test.per_block for test in tests]
    row.blocks = results[0].blocks
    row.answers = dict(Counter(result.val.readout for result in results))
    row.learnt = any(READOUTS[answer].trainable for answer in row.answers)
    row.own = _mean(_own(result) for result in results)
    trained = [result.train for result in results]
    row.run_seconds = [t.seconds for t in trained]
    row.seconds = statistics.mean(row.run_seconds)
    row.images_per_second = _mean(t.images_per_second for t in trained)
    row.peak_memory_bytes = max(t.peak_memory_bytes for t in trained)
    row.joules = _mean(t.joules for t in trained)
    row.parameters = trained[0].parameters
    row.trained_parameters = trained[0].trained_parameters


def _own(result: Result) -> float | None:
    """Test accuracy of the readout without weights that is best on validation."""
    own = {n: a for n, a in result.val.readouts.items() if not READOUTS[n].trainable}
    if not own or result.test is None:
        return None
    return result.test.readouts[max(own, key=lambda name: own[name])]


def _arrival(histories: Sequence[Sequence[EpochRow]], target: float, batch_size: int) -> Arrival:
    firsts = [
        next((epoch for epoch in history if epoch.val.accuracy >= target), None)
        for history in histories
    ]
    reached = [epoch for epoch in firsts if epoch is not None]
    return Arrival(
        len(reached),
        _mean(epoch.seconds for epoch in reached),
        _mean(epoch.step * batch_size for epoch in reached),
        _mean(epoch.joules for epoch in reached),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def headline(rows: Sequence[Row]) -> str:
    """One sentence: how the best method, by validation, stands to the baseline."""
    against = next((row for row in rows if row.method == baseline() and row.accuracies), None)
    others = [row for row in rows if not row.baseline and row.val_accuracies]
    if against is None or not others:
        return ""
    best = max(others, key=lambda row: statistics.mean(row.val_accuracies))
    found = best.difference
    if found is None:
        return ""
    numbers = f"{spread(best)} against {spread(against)} % test accuracy"
    if found.half_width is None:
        return (
            f"One seed tells no difference: {best.method}, the best on validation beside"
            f" {against.method}, has {numbers}."
        )
    stands = {
        "above": f"is above {against.method}",
        "below": f"is below {against.method}",
        "level": f"is level with {against.method}",
        "open": f"and {against.method} cannot be told apart with these seeds",
    }[found.word]
    return (
        f"{best.method}, the best on validation beside {against.method}, {stands}: {numbers}"
        f" (difference {points(found)} points)."
    )


def spread(row: Row) -> str:
    """Mean test accuracy in per cent, and the standard deviation between seeds."""
    assert row.mean is not None
    return f"{100 * row.mean:.2f}" + ("" if row.std is None else f" ± {100 * row.std:.2f}")


def points(found: Difference) -> str:
    """A difference in points, with its interval."""
    half = "" if found.half_width is None else f" ± {100 * found.half_width:.2f}"
    return f"{100 * found.mean:+.2f}{half}"


def caveats(rows: Sequence[Row], budget: float) -> list[str]:
    """What must not be read into the numbers."""
    found = []
    ranked = [row for row in rows if row.accuracies]
    if any(len(row.accuracies) == 1 for row in ranked):
        found.append(
            "Methods with one seed: small differences may be luck. Repeat with --seeds 3 or more"
            " before you rank methods that are close."
        )
    for row in ranked:
        found += [
            f"{row.method}: the best {key}, {of['value']:.3g}, is at the end of what was tried;"
            " a value beyond it may be better."
            for key, of in row.found.items()
            if of.get("at_end")
        ]
        found += [
            f"{row.method}: not searched: {of['refused']}."
            for of in row.found.values()
            if "refused" in of
        ]
        if row.off_budget:
            took = ", ".join(f"{seconds:.1f}" for seconds in row.run_seconds)
            found.append(f"{row.method} took {took} s instead of {budget:g}: not the same time.")
        if row.learnt:
            own = "" if row.own is None else f"; its blocks' own scores reach {row.own:.2%}"
            found.append(
                f"{row.method} is answered by a classifier trained on its features,"
                f" {answered(row)}{own}."
            )
        if weaker := _weaker(row):
            found.append(f"{row.method}: a block answers worse than one before it: {weaker}.")
    against = next((row for row in ranked if row.method == baseline()), None)
    if against is not None and against.trained_parameters:
        names = {row.method for row in ranked}
        for row in ranked:
            times = (row.trained_parameters or 0) / against.trained_parameters
            if times < MANY_PARAMETERS or row.baseline:
                continue
            as_large = Entry(against.method, 1, row.method).name
            compare = (
                f"compare it with {as_large}"
                if as_large in names
                else f"--match-parameters {row.method} adds a {against.method} as large"
            )
            found.append(
                f"{row.method} trains {times:.1f} times the parameters of {against.method}, its"
                f" heads included: {compare}."
            )
    order = sorted(ranked, key=lambda row: -(row.mean or 0.0))
    for better, worse in pairwise(row for row in order if len(row.accuracies) > 1):
        if min(better.accuracies) <= max(worse.accuracies):
            found.append(
                f"{better.method} and {worse.method} overlap: the worst seed of the first is not"
                " better than the best of the second."
            )
    return found


def _weaker(row: Row) -> str:
    """The blocks that answer worse than one before them, and in how many seeds."""
    seeds = Counter(
        place for own in row.per_block for place in weaker_blocks(own, row.test_examples)
    )
    every = len(row.per_block)
    return ", ".join(f"{row.blocks[place]} in {seeds[place]} of {every}" for place in sorted(seeds))


def answered(row: Row) -> str:
    """The readouts that answered and whether they are trained, with their seeds if they differ."""
    said = []
    for name, count in row.answers.items():
        kind = "trained" if READOUTS[name].trainable else "own"
        seeds = f", {count} seeds" if len(row.answers) > 1 else ""
        said.append(f"{name} ({kind}{seeds})")
    return ", ".join(said)
