"""The best value on a ladder of values, by trials from a start outwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

EXTENSIONS = 4
"""So many trials beyond the start and its two neighbours."""
FACTOR = 3.0
"""From one learning rate of a ladder to the next."""


@dataclass(frozen=True)
class Climb:
    """What trials on a ladder have found.

    Attributes:
        best: the place of the best value; None where every trial has failed.
        scores: by place what a trial gave, None where it failed.
        at_end: whether the best is the lowest or the highest value tried, and the ladder goes on.
    """

    best: int | None = None
    scores: dict[int, float | None] = field(default_factory=dict)
    at_end: bool = False


def climb(rungs: int, start: int, score: Callable[[int], float | None]) -> Climb:
    """Try a start and its neighbours, and further while the best is at an end of what was tried.

    Of equal scores the one nearest to the start is the best, of two as near the lower place. Where
    every trial has failed, lower places are tried.

    Args:
        rungs: how many values the ladder has.
        start: the place to begin at.
        score: of the value at a place, the higher the better; None: the trial failed.
    """
    scores: dict[int, float | None] = {}
    wanted = [place for place in (start, start - 1, start + 1) if 0 <= place < rungs]
    extensions = EXTENSIONS
    while True:
        for place in wanted:
            scores[place] = score(place)
        found = {place: value for place, value in scores.items() if value is not None}
        lowest, highest = min(scores), max(scores)
        best = min(
            found, key=lambda place: (-found[place], abs(place - start), place), default=None
        )
        if best is None or best == lowest:
            beyond = lowest - 1
        elif best == highest:
            beyond = highest + 1
        else:
            return Climb(best, scores)
        # One rung alone is no search.
        ends = not 0 <= beyond < rungs
        if ends or not extensions:
            return Climb(best, scores, at_end=best is not None and not ends)
        extensions -= 1
        wanted = [beyond]


def rates(default: float) -> tuple[list[float], int]:
    """A ladder of learning rates, longer than a search can climb, and the place of the default."""
    reach = EXTENSIONS + 2
    ladder = [float(f"{default * FACTOR**power:.2g}") for power in range(-reach, reach + 1)]
    ladder[reach] = default
    return ladder, reach
