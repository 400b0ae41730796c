"""How sure an exit has to be: thresholds by class precision margin (BTS-EE, arXiv 2509.08318).

An exit may answer class c from the confidence on from which its answers c are right as often as
those of the full network, less a margin. That is judged on the images which have not left before.

Of the images that an exit is sure about the full network has more right than of all images. Where
it has many wrong on the whole, exits that are merely as precise lose much: the paper's margins are
0 and more, here they may be negative too.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

NEVER = float("inf")
"""The threshold of a class that an exit does not answer."""


def class_groups(answers: Tensor, num_classes: int, support: int) -> Tensor:
    """Which classes are judged together: those that too few images are answered as, int64 (K,).

    The paper judges every class alone. Where a validation set has fewer images of a class than the
    support, no exit could ever answer it; such classes share one threshold here.

    Args:
        answers: of the full network, (N,).
        num_classes: K.
        support: answers that a class needs to be judged alone.

    Returns:
        Each class's group: its own number, or that of the first class without support.
    """
    groups = torch.arange(num_classes, device=answers.device)
    rare = torch.bincount(answers, minlength=num_classes) < support
    if rare.any():
        groups[rare] = groups[rare][0]
    return groups


def precision(answers: Tensor, right: Tensor, groups: Tensor) -> Tensor:
    """The share of right answers in each group, (K,); NaN where there are none.

    Args:
        answers: classes (N,).
        right: bool (N,), or how far each is right, 0 to 1.
        groups: each class's group (K,).
    """
    place, count = groups[answers], len(groups)
    hits = torch.bincount(place, weights=right.double(), minlength=count)
    return hits / torch.bincount(place, minlength=count)


def precision_thresholds(
    confidence: Tensor,
    answers: Tensor,
    right: Tensor,
    targets: Tensor,
    groups: Tensor,
    support: int,
) -> Tensor:
    """The smallest confidence from which on each class's answers reach their target precision.

    Args:
        confidence: (N,).
        answers: classes (N,).
        right: bool (N,), or how far each is right, 0 to 1.
        targets: the groups' precision (K,).
        groups: each class's group (K,).
        support: answers that a precision needs to count.

    Returns:
        float64 (K,); infinite where no confidence reaches the target.
    """
    found = torch.full_like(targets, NEVER)
    place = groups[answers]
    for group in place.unique().tolist():
        own = place == group
        sure, order = confidence[own].double().sort(descending=True)
        count = torch.arange(1, len(sure) + 1, device=sure.device)
        reached = right[own][order].double().cumsum(0) / count >= targets[group]
        # Equals leave together.
        ends = torch.cat([sure[1:] < sure[:-1], sure.new_ones(1, dtype=torch.bool)])
        if (fit := sure[reached & ends & (count >= support)]).numel():
            found[group] = fit[-1]
    return found[groups]


def choose_thresholds(
    confidences: Tensor,
    answers: Tensor,
    y: Tensor,
    *,
    margin: float,
    support: int,
    classes: int,
    exits: Iterable[int] | None = None,
) -> Tensor:
    """Thresholds of every exit but the last, each chosen on those who have not left before it.

    Args:
        confidences: (D, N), of every exit; the last one is the full network.
        answers: classes (D, N).
        y: labels (N,).
        margin: by how much an exit's precision on a class may be below the full network's; below 0
            by how much it has to be above, up to 1.
        support: answers that a precision needs to count.
        classes: K.
        exits: which ones may be taken, in order; None: all.

    Returns:
        float64 (D - 1, K).
    """
    groups = class_groups(answers[-1], classes, support)
    targets = (precision(answers[-1], answers[-1] == y, groups) - margin).clamp(max=1)
    stays = torch.ones_like(y, dtype=torch.bool)
    found = confidences.new_full((len(answers) - 1, classes), NEVER, dtype=torch.float64)
    for index in range(len(found)) if exits is None else exits:
        sure, answer = confidences[index], answers[index]
        own = sure[stays], answer[stays], (answer == y)[stays]
        found[index] = precision_thresholds(*own, targets, groups, support)
        stays &= sure < found[index][answer]
    return found


def exits_taken(confidences: Tensor, answers: Tensor, thresholds: Tensor) -> Tensor:
    """At which exit each image leaves, int64 (N,): the first that is sure enough, or the last.

    Args:
        confidences: (D, N).
        answers: classes (D, N).
        thresholds: (D - 1, K).
    """
    sure = confidences[:-1] >= thresholds.gather(1, answers[:-1])
    return torch.cat([sure, sure.new_ones(1, sure.shape[1])]).int().argmax(0)
