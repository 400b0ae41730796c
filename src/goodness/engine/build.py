"""From a configuration to a network: the model, its blocks, their objectives and readouts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from goodness.boundary import BOUNDARIES, Boundary
from goodness.config import Config, resolve
from goodness.engine.block import Block
from goodness.engine.compatibility import answering, check_classes, check_owners, check_rows
from goodness.engine.network import Network, Shape
from goodness.engine.rectifier import with_open_end
from goodness.engine.seeds import kept_generators, mix, seed_generators
from goodness.errors import InputError, unknown
from goodness.models import MODELS
from goodness.models.weights import start_from
from goodness.objective import OBJECTIVES, Objective, Spec
from goodness.partition import Piece, split, split_by_hand
from goodness.partition.view import View
from goodness.presentation import PRESENTATIONS, Presentation
from goodness.readout import READOUTS
from goodness.schedule import SCHEDULES, Frozen, Schedule, Together
from goodness.update import UPDATES


def build(
    method: str | Config,
    *,
    image: Shape,
    classes: int,
    module: nn.Module | Sequence[nn.Module] | None = None,
    initial: bool = True,
    **values: Any,
) -> Network:
    """The network that a method describes, with weights drawn from its seed.

    Args:
        method: a method's name, or a whole configuration.
        image: the shape (C, H, W) of an image.
        classes: number of classes, K.
        module: a network to be cut, or its blocks and its classifier one after the other, where
            what the method adds is put too; None takes what the configuration names.
        initial: whether to start from the weights that the configuration names; a network whose
            own are loaded afterwards need not.
        values: configuration keys beside a method's name, e.g. ``model="vgg8"``; beside a whole
            configuration none are taken.

    Raises:
        InputError: a bad value, parts that do not fit together, or the model cannot serve this
            image.
    """
    if values and not isinstance(method, str):
        raise InputError(
            f"{next(iter(values))}: a whole configuration takes no values beside it (give them"
            " when it is resolved: goodness.resolve({...}))"
        )
    config = resolve({**values, "method": method}) if isinstance(method, str) else method
    draws, device = torch.get_default_device(), device_of(module)
    with kept_generators(draws):
        seed_generators(draws, mix(config.seed, "weights"))
        check_rows(config)
        shows = PRESENTATIONS[config.presentation["name"]]
        most = shows.most_classes(image, config.presentation)
        check_classes(f"presentation '{config.presentation['name']}'", classes, most)
        presentation = PRESENTATIONS.make(config.presentation, image, classes).to(device)
        blank = torch.zeros(1, *image, device=device)
        shown = tuple(presentation.probe(blank).shape[1:])
        if module is None:
            made = MODELS.make(config.model, shown, classes)
            if initial:
                start_from(made, config.model, config.pretrained, config.weights, shown, classes)
            module = made
        try:
            pieces, head = _cut(module, torch.zeros(2, *shown, device=device), classes, config)
        except InputError as error:
            if shown == image:
                raise
            raise InputError(
                f"{error} (presentation '{config.presentation['name']}' makes"
                f" {'x'.join(map(str, shown))} of an image of {'x'.join(map(str, image))})"
            ) from None
        boundaries = [BOUNDARIES.make(config.boundary, classes).to(device) for _ in pieces]
        specs = _specs(presentation, pieces, boundaries, blank, classes, head)
        schedule = _schedule(config, [piece.name for piece in pieces])
        judged_blocks = {i for segment in schedule.segments() for i in segment.judged}
        objectives = [
            _objective(config, piece.name, spec) if spec.index in judged_blocks else None
            for piece, spec in zip(pieces, specs, strict=True)
        ]
        pieces = _lean(pieces, objectives, schedule, config)
        parts = zip(specs, pieces, boundaries, objectives, strict=True)
        blocks = [Block(*part) for part in parts]
        readouts = {
            name: READOUTS.make({"name": name, **options}, specs)
            for name, options in config.readouts.items()
        }
        check_owners(readouts, blocks, config)
        readouts = answering(readouts, blocks, presentation, config)
        for readout in readouts.values():
            readout.label_smoothing = config.label_smoothing
    update = UPDATES.make(config.update)
    network = Network(presentation, blocks, readouts, schedule, update, image, config)
    if config.compile:
        _compile(network)
    return network.to(device).to(memory_format=network.memory_format)


def device_of(module: nn.Module | Sequence[nn.Module] | None) -> torch.device:
    """Where the weights of a network or of its parts are; None: where a fresh one is made."""
    parts = [module] if isinstance(module, nn.Module) else module or []
    own = next((parameter for part in parts for parameter in part.parameters()), None)
    return torch.get_default_device() if own is None else own.device


def _compile(network: Network) -> None:
    import torch._dynamo.config as dynamo  # late: it takes seconds

    # To torch all blocks, of all networks, are one function seen with other weights, of which it
    # keeps 8 by default; each is compiled for training and for evaluation, and again for a last,
    # smaller batch.
    dynamo.recompile_limit += 4 * len(network)
    for block in network:
        block.body.compile()


def most_classes(method: str | Config, *, image: Shape, **values: Any) -> int | None:
    """The largest number of classes that a method can serve for an image of this shape (C, H, W).

    Returns:
        None where there is no limit.
    """
    network = build(method, image=image, classes=1, **values)
    config = network.config
    limits = [type(network.presentation).most_classes(image, config.presentation)]
    for block in network:
        if block.objective is not None:
            limits.append(type(block.objective).most_classes(block.spec, config.objective))
    return min((limit for limit in limits if limit is not None), default=None)


def _schedule(config: Config, names: Sequence[str]) -> Schedule:
    """When each of the blocks with these names learns."""
    first = 0 if config.freeze_until is None else _place(config.freeze_until, names)
    left = len(names) - first
    schedule: Schedule = SCHEDULES.make(config.schedule, left) if left else Together(0)
    return Frozen(schedule, first) if first else schedule


def _place(block: str, names: Sequence[str]) -> int:
    """Where a block stands that is given by name or number; the classifier is the last."""
    if block == "head":
        return len(names)
    if block.isdecimal() and block not in names and int(block) < len(names):
        return int(block)
    if block not in names:
        raise unknown("block", block, [*names, "head"])
    return names.index(block)


def _objective(config: Config, block: str, spec: Spec) -> Objective:
    name = config.objective["name"]
    most = OBJECTIVES[name].most_classes(spec, config.objective)
    check_classes(f"objective '{name}' at block '{block}'", spec.classes, most)
    objective: Objective = OBJECTIVES.make(config.objective, spec)
    if config.label_smoothing and not objective.smooths:
        raise InputError(
            f"label_smoothing: the loss of objective '{name}' is no cross-entropy over the classes"
        )
    if config.class_weights is not None and not objective.weighs:
        raise InputError(f"class_weights: objective '{name}' is solved, not trained by its loss")
    objective.label_smoothing = config.label_smoothing
    return objective


def _lean(
    pieces: Sequence[Piece],
    objectives: Sequence[Objective | None],
    schedule: Schedule,
    config: Config,
) -> list[Piece]:
    """Pieces without the mask of a last ReLU, where an objective that needs none is all they learn
    from."""
    alone = {s.blocks[0] for s in schedule.segments() if len(s.blocks) == 1}
    shared = {index for s in schedule.segments() if len(s.blocks) > 1 for index in s.blocks}
    # What an open end saves is saved for autograd; forward-mode derivatives need the mask.
    fit = alone - shared if UPDATES[config.update["name"]].records_body else set()
    lean = []
    for index, (piece, objective) in enumerate(zip(pieces, objectives, strict=True)):
        if index in fit and objective is not None and objective.masks:
            body = with_open_end(piece.body)
            objective.rectified = body is not piece.body
            piece = piece._replace(body=body)
        lean.append(piece)
    return lean


def _cut(
    module: nn.Module | Sequence[nn.Module], example: Tensor, classes: int, config: Config
) -> tuple[list[Piece], nn.Module | None]:
    """The network's blocks and its classifier."""
    elsewhere = example.device != torch.get_default_device()
    # What a cut tries out on blank values of its own is tried where the weights are.
    with example.device if elsewhere else nullcontext():
        if isinstance(module, nn.Module):
            pieces, head = split(module, example, classes, config.partition)
        else:
            pieces, head = split_by_hand(module, example, classes)
    if head is not None and OBJECTIVES[config.objective["name"]].takes_head(config.objective):
        # It needs all that the model's classifier takes.
        pieces[-1] = pieces[-1]._replace(judged=pieces[-1].judged.whole())
    return pieces, head


@torch.no_grad()
def _specs(
    presentation: Presentation,
    pieces: Sequence[Piece],
    boundaries: Sequence[Boundary],
    blank: Tensor,
    classes: int,
    head: nn.Module | None,
) -> list[Spec]:
    """What every block's objective is told, from one blank image, evaluated."""
    x = presentation.probe(blank)
    seen = x
    shapes: list[tuple[Shape, Shape, Shape]] = []
    for index, (piece, boundary) in enumerate(zip(pieces, boundaries, strict=True)):
        if index > 0:
            view = pieces[index - 1].sent
            x = view.gather(presentation.enter(view.spread(x), learning=False))
        try:
            value = piece.body.eval()(x)
            sent = piece.tail.eval()(value)
            x = piece.sent.gather(boundary.eval()(piece.sent.spread(sent)))
        except RuntimeError as error:
            raise InputError(
                f"block '{piece.name}' cannot serve an input of {tuple(x.shape[1:])}: {error}"
            ) from None
        given, seen = seen, piece.sent(x)
        shapes.append((_shape(given), _shape(piece.judged(value)), _shape(seen)))
    return [
        Spec(
            index=index,
            count=len(pieces),
            classes=classes,
            image=_shape(blank),
            input=shapes[index][0],
            judged=shapes[index][1],
            sent=shapes[index][2],
            widest=max(judged[0] for _, judged, _ in shapes),
            input_view=pieces[index - 1].sent if index else View(),
            judged_view=piece.judged,
            sent_view=piece.sent,
            head=head if index == len(pieces) - 1 else None,
        )
        for index, piece in enumerate(pieces)
    ]


def _shape(x: Tensor) -> Shape:
    """(C, H, W)."""
    _, channels, height, width = x.shape
    return channels, height, width
