"""Choosing exits on one half of validation, and measuring them on other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from goodness.data import Preprocessing, Split
from goodness.errors import InputError
from goodness.exits.calibration import expected_calibration_error, fit_temperature, reliability
from goodness.exits.cost import TOGETHER, flops_until, mean_flops, measure_latency
from goodness.exits.passage import Exit
from goodness.exits.records import (
    CalibratedExit,
    Calibration,
    ExitFigures,
    ExitReport,
    MarginFigures,
    Reliability,
)
from goodness.exits.thresholds import NEVER, choose_thresholds, exits_taken
from goodness.network.network import Network
from goodness.seeds import mix, permutation

SIZES = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
MARGINS = (*(-size for size in reversed(SIZES)), 0.0, *SIZES)
"""Those that are tried where none is given; the paper's are 0, 0.01, 0.02 and 0.05."""


class Scored(NamedTuple):
    """What every exit of a network says about N images; D exits."""

    blocks: list[int]
    """Their places in the network."""
    scores: Tensor
    """(D, N, K), on the CPU."""
    y: Tensor
    """(N,)."""

    def rows(self, order: Tensor) -> Scored:
        """Some of the images."""
        return Scored(self.blocks, self.scores[:, order], self.y[order])


def score_exits(
    network: Network, split: Split, preprocessing: Preprocessing, batch_size: int
) -> Scored:
    """Ask a network about every image of a split, behind every block that has an answer.

    Raises:
        InputError: the last block alone has one.
    """
    name, parts, labels = network.chosen_readout(), [], []
    workers = network.config.num_workers
    for pixels, y in split.batches(batch_size, network.device, num_workers=workers):
        parts.append(network.evaluate(preprocessing.apply(pixels)).exits(name))
        labels.append(y.cpu())
    blocks = [index for index, scores in enumerate(parts[0]) if scores is not None]
    if len(blocks) < 2:
        raise InputError(
            f"method '{network.config.method}' answers behind its last block alone: there is no"
            " exit before it (train with linear probes: --set readouts.probe={})"
        )
    scores = [torch.cat([part[i].cpu() for part in parts]) for i in blocks]  # type: ignore[union-attr]
    return Scored(blocks, torch.stack(scores), torch.cat(labels))


class Choice(NamedTuple):
    """How D exits answer."""

    temperatures: Tensor
    """(D,)."""
    thresholds: Tensor
    """(D - 1, K)."""

    def confidences(self, scored: Scored) -> tuple[Tensor, Tensor]:
        """The probability of every exit's answer, and the answers, (D, N) each."""
        found = scored.scores.double() / self.temperatures[:, None, None]
        sure, answers = found.softmax(2).max(2)
        return sure, answers

    def used(self, blocks: Sequence[int]) -> tuple[int, ...]:
        """The blocks behind which some image may leave."""
        reached = [*self.thresholds.isfinite().any(1).tolist(), True]
        return tuple(block for block, used in zip(blocks, reached, strict=True) if used)


class Cost:
    """FLOPs of a network's exits, counted once for every choice of them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._known: dict[tuple[int, ...], list[int]] = {}

    def until(self, exits: tuple[int, ...]) -> list[int]:
        """`flops_until` of these exits."""
        if exits not in self._known:
            self._known[exits] = flops_until(self.network, exits)
        return self._known[exits]

    @property
    def full(self) -> int:
        """Of the whole network, asked behind its last block alone."""
        return self.until((len(self.network) - 1,))[-1]


class _Outcome(NamedTuple):
    """A choice on some images."""

    left: Tensor
    """The place of the exit that each takes, (N,)."""
    accuracy: float
    flops: float


def _outcome(choice: Choice, scored: Scored, cost: Cost) -> _Outcome:
    sure, answers = choice.confidences(scored)
    left = exits_taken(sure, answers, choice.thresholds)
    right = answers.gather(0, left[None])[0] == scored.y
    blocks = torch.tensor(scored.blocks)[left]
    flops = mean_flops(cost.until(choice.used(scored.blocks)), blocks)
    return _Outcome(left, float(right.double().mean()), flops)


def calibrate(
    network: Network,
    split: Split,
    preprocessing: Preprocessing,
    *,
    data: str,
    epoch: int,
    tolerance: float,
    margin: float | None,
    support: int,
    batch_size: int,
) -> Calibration:
    """Temperatures and thresholds from one half of a split, measured on the other half.

    Args:
        network: whose `readout` answers.
        split: validation images.
        preprocessing: the training run's.
        data: their name.
        epoch: of the weights.
        tolerance: the loss of accuracy that is allowed, as far as the half that is chosen on
            tells.
        margin: by how much an exit's precision on a class may be below the full network's, see
            `choose_thresholds`; None: the one that saves most within the tolerance.
        support: answers that a precision needs to count.
        batch_size: images at a time.

    Raises:
        InputError: the last block alone has an answer, or a quarter of the images is fewer than the
            support.
    """
    half, quarter = len(split) // 2, len(split) // 4
    if quarter < support:
        raise InputError(
            f"{len(split)} validation images: a quarter of them is too few for a support of"
            f" {support} (use --support {max(1, quarter)} or less, or hold out more when you train)"
        )
    scored = score_exits(network, split, preprocessing, batch_size)
    order = permutation(len(split), mix(0, "exits"))
    here, other = scored.rows(order[:half]), scored.rows(order[half:])
    temperatures = torch.tensor(
        [fit_temperature(scores, here.y) for scores in here.scores], dtype=torch.float64
    )
    shape = len(scored.blocks) - 1, network.num_classes
    never = torch.full(shape, NEVER, dtype=torch.float64)
    plain, cost = Choice(temperatures, never), Cost(network)
    margins = MARGINS if margin is None else (margin,)
    tried = {m: _worthwhile(plain, here, cost, m, support) for m in margins}
    best = _best_margin(plain, here, cost, tolerance, support) if margin is None else margin
    choice = plain if best is None else tried[best]
    exits = calibrated(network, scored.blocks, choice)
    measured = {m: _outcome(own, other, cost) for m, own in tried.items()}
    pixels, _ = next(split.batches(TOGETHER, network.device, order=order[half:]))
    return Calibration(
        epoch=epoch,
        readout=network.chosen_readout(),
        tolerance=tolerance,
        support=support,
        margin=best,
        exits=exits,
        margins=[
            MarginFigures(margin=m, accuracy=outcome.accuracy, flops=outcome.flops)
            for m, outcome in measured.items()
        ],
        report=_report(network, other, exits, preprocessing.apply(pixels), data, "val"),
    )


def _best_margin(
    plain: Choice, scored: Scored, cost: Cost, tolerance: float, support: int
) -> float | None:
    """The margin that saves most within the tolerance; None where none does.

    Judged by thresholds from one half of the images on the other half, both ways: on the images
    that they are chosen on, thresholds lose less than on others.
    """
    count = len(scored.y)
    halves = [scored.rows(torch.arange(count)[start::2]) for start in (0, 1)]
    best, least = None, float(cost.full)
    for margin in MARGINS:
        lost, flops = 0.0, 0.0
        for own, other in (halves, halves[::-1]):
            outcome = _outcome(_worthwhile(plain, own, cost, margin, support), other, cost)
            share = len(other.y) / count
            lost += share * (_outcome(plain, other, cost).accuracy - outcome.accuracy)
            flops += share * outcome.flops
        if lost <= tolerance + 1e-9 and flops < least:
            best, least = margin, flops
    return best


def _worthwhile(plain: Choice, scored: Scored, cost: Cost, margin: float, support: int) -> Choice:
    """The exits of a margin, without those that cost more than they save.

    Every image that goes on pays for the heads on its way. Those that fewest take are tried first.
    """
    sure, answers = plain.confidences(scored)
    classes = scored.scores.shape[2]

    def choose(exits: Sequence[int]) -> tuple[Choice, _Outcome]:
        thresholds = choose_thresholds(
            sure, answers, scored.y, margin=margin, support=support, classes=classes, exits=exits
        )
        choice = plain._replace(thresholds=thresholds)
        return choice, _outcome(choice, scored, cost)

    exits = list(range(len(answers) - 1))
    choice, outcome = choose(exits)
    taken = torch.bincount(outcome.left, minlength=len(answers)).tolist()
    for index in sorted(exits, key=taken.__getitem__):
        fewer = [other for other in exits if other != index]
        without, cheaper = choose(fewer)
        if cheaper.flops <= outcome.flops:
            exits, choice, outcome = fewer, without, cheaper
    return choice


def calibrated(network: Network, blocks: Sequence[int], choice: Choice) -> list[CalibratedExit]:
    """A choice as it is written down; the last exit takes every image."""
    rows: list[list[float | None]] = [
        [value if value < NEVER else None for value in row] for row in choice.thresholds.tolist()
    ]
    rows.append([0.0] * network.num_classes)
    return [
        CalibratedExit(
            block=network.names[index],
            index=index,
            temperature=temperature,
            thresholds=row,
        )
        for index, temperature, row in zip(blocks, choice.temperatures.tolist(), rows, strict=True)
    ]


def chosen(exits: Sequence[CalibratedExit]) -> Choice:
    """What `calibrated` wrote down."""
    return Choice(
        torch.tensor([own.temperature for own in exits], dtype=torch.float64),
        torch.stack([_thresholds(own) for own in exits[:-1]]),
    )


def exits_of(
    exits: Sequence[CalibratedExit], device: torch.device, threshold: float | None = None
) -> Mapping[int, Exit]:
    """The exits that some image may take, for `answer_early`.

    Args:
        exits: calibrated ones.
        device: of the network.
        threshold: one confidence for all of them but the last, in place of their own.
    """
    found = {}
    for own in exits:
        thresholds = _thresholds(own)
        if threshold is not None and own is not exits[-1]:
            thresholds.fill_(threshold)
        if thresholds.isfinite().any():
            found[own.index] = Exit(own.temperature, thresholds.to(device, torch.float32))
    return found


def _thresholds(own: CalibratedExit) -> Tensor:
    values = [NEVER if value is None else value for value in own.thresholds]
    return torch.tensor(values, dtype=torch.float64)


def measure(
    network: Network,
    split: Split,
    preprocessing: Preprocessing,
    exits: Sequence[CalibratedExit],
    *,
    data: str,
    name: str,
    batch_size: int,
) -> ExitReport:
    """Calibrated exits on other images.

    Args:
        network: whose `readout` answers, with the weights that were calibrated.
        split: the images.
        preprocessing: the training run's.
        exits: calibrated ones.
        data: the images' name.
        name: of their split.
        batch_size: images at a time.
    """
    scored = score_exits(network, split, preprocessing, batch_size)
    pixels, _ = next(split.batches(TOGETHER, network.device))
    return _report(network, scored, exits, preprocessing.apply(pixels), data, name)


def _report(
    network: Network,
    scored: Scored,
    exits: Sequence[CalibratedExit],
    images: Tensor,
    data: str,
    split: str,
) -> ExitReport:
    choice, cost = chosen(exits), Cost(network)
    outcome = _outcome(choice, scored, cost)
    until = cost.until(choice.used(scored.blocks))
    raw = choice._replace(temperatures=torch.ones_like(choice.temperatures))
    (plain, answers), (sure, _) = raw.confidences(scored), choice.confidences(scored)
    rights = answers == scored.y
    figures = []
    for place, (own, right) in enumerate(zip(exits, rights, strict=True)):
        left = outcome.left == place
        figures.append(
            ExitFigures(
                block=own.block,
                flops=until[own.index],
                accuracy=_mean(right),
                ece_before=expected_calibration_error(plain[place], right),
                ece_after=expected_calibration_error(sure[place], right),
                left=_mean(left),
                accuracy_left=_mean(right[left]) if left.any() else None,
                before=_binned(plain[place], right),
                after=_binned(sure[place], right),
            )
        )
    return ExitReport(
        data=data,
        split=split,
        examples=len(scored.y),
        accuracy_full=figures[-1].accuracy,
        accuracy=outcome.accuracy,
        flops_full=cost.full,
        flops=outcome.flops,
        exits=figures,
        latency=measure_latency(network, images, exits_of(exits, network.device)),
    )


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _binned(sure: Tensor, right: Tensor) -> Reliability:
    found = reliability(sure, right)
    return Reliability(**{name: own.tolist() for name, own in found._asdict().items()})
