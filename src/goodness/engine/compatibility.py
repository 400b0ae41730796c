"""Parts that do not fit together are refused, by name, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from goodness.config import Config
from goodness.engine.block import Block
from goodness.errors import InputError
from goodness.objective import OBJECTIVES
from goodness.presentation import PRESENTATIONS, Presentation
from goodness.readout import Readout


def check_rows(config: Config) -> None:
    """Refuse a presentation that makes other rows than the objective judges."""
    shown, judge = config.presentation["name"], config.objective["name"]
    paired = OBJECTIVES[judge].paired
    if PRESENTATIONS[shown].paired != paired:
        kinds = {False: "one row per image", True: "positive and negative rows"}
        fit = ", ".join(name for name in PRESENTATIONS if PRESENTATIONS[name].paired == paired)
        raise InputError(
            f"presentation '{shown}' makes {kinds[not paired]}, but objective '{judge}' judges"
            f" {kinds[paired]} (use another objective, or as presentation: {fit})"
        )


def check_classes(what: str, classes: int, most: int | None) -> None:
    """Refuse more classes than ``what`` can serve; None serves any number."""
    if most is not None and classes > most:
        raise InputError(f"{what} can serve at most {most} classes here, not {classes}")


def check_owners(readouts: Mapping[str, Readout], blocks: Sequence[Block], config: Config) -> None:
    """Refuse a readout that trains what a block does: they would undo each other's work."""
    owned = {id(parameter) for block in blocks for parameter in block.parameters()}
    for name, readout in readouts.items():
        if any(id(parameter) in owned for parameter in readout.parameters()):
            raise InputError(
                f"readout '{name}' would train the model's classifier, which objective"
                f" '{config.objective['name']}' trains already; leave the readout out"
            )


def answering(
    readouts: Mapping[str, Readout],
    blocks: Sequence[Block],
    presentation: Presentation,
    config: Config,
) -> dict[str, Readout]:
    """The readouts that can answer: frozen blocks alone have no class scores to answer by.

    Raises:
        InputError: none is left, or one that was asked for by name is not among them.
    """
    judges = [block.objective for block in blocks if block.objective is not None]
    # A goodness of rows is a score of classes where every class is asked about.
    asked = presentation.answers == presentation.classes
    if any(asked or not judge.paired for judge in judges):
        return dict(readouts)
    mute = [name for name, readout in readouts.items() if readout.needs_scores]
    if judges and mute:
        raise InputError(
            f"readout '{mute[0]}': no block of this method has class scores (use a readout that"
            " learns, e.g. 'output', or a presentation with labels)"
        )
    rest = {name: readout for name, readout in readouts.items() if name not in mute}
    if not judges and not rest:
        raise InputError(
            f"freeze_until: with method '{config.method}' nothing is left to train behind"
            f" '{config.freeze_until}' (add a readout that learns: --set readouts.output={{}})"
        )
    if config.readout in mute:
        raise InputError(
            f"readout '{config.readout}': no block behind '{config.freeze_until}' has class scores"
            f" (choose one of: auto, {', '.join(rest)})"
        )
    return rest
