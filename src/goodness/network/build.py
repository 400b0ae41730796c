"""From a configuration to a network: the model, its blocks, their objectives and readouts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from numbers import Integral
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from goodness.boundary import BOUNDARIES, Boundary
from goodness.checks import (
    answering,
    check_black_boxes,
    check_classes,
    check_objective,
    check_owners,
    check_plan,
    check_rows,
)
from goodness.config import Config, resolve
from goodness.errors import InputError, unknown
from goodness.functional import stretch
from goodness.models import MODELS
from goodness.models.weights import start_from
from goodness.modes import evaluating
from goodness.network.block import Block
from goodness.network.network import Network
from goodness.network.rectifier import with_open_end
from goodness.objective import OBJECTIVES, BlockSpec, ClassDifficulty, Later, Objective
from goodness.partition import Piece, split, split_by_hand
from goodness.partition.view import View
from goodness.plan import PLANS, Frozen, Plan, Together
from goodness.presentation import PRESENTATIONS, Presentation
from goodness.readout import READOUTS
from goodness.seeds import kept_generators, mix, seed_generators
from goodness.types import HEAD, Shape
from goodness.update import UPDATES


def build(
    method: str | Config,
    *,
    image_shape: Shape,
    num_classes: int,
    module: nn.Module | Sequence[nn.Module] | None = None,
    initial: bool = True,
    **values: Any,
) -> Network:
    """The network that a method describes, with weights drawn from its seed.

    Args:
        method: a method's name, or a whole configuration.
        image_shape: the shape (C, H, W) of an image.
        num_classes: number of classes, K.
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
    image_shape, num_classes = checked_shape(image_shape), _count(num_classes)
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
        most = shows.max_classes(image_shape, config.presentation)
        check_classes(f"presentation '{config.presentation['name']}'", num_classes, most)
        presentation = PRESENTATIONS.make(config.presentation, image_shape, num_classes).to(device)
        blank = torch.zeros(1, *image_shape, device=device)
        shown = tuple(presentation.neutral_rows(blank).shape[1:])
        if module is None:
            made = MODELS.make(config.model, shown, num_classes)
            if initial:
                start_from(
                    made, config.model, config.pretrained, config.init_from, shown, num_classes
                )
            module = made
        try:
            pieces, head = _cut(module, torch.zeros(2, *shown, device=device), num_classes, config)
        except InputError as error:
            if shown == image_shape:
                raise
            raise InputError(
                f"{error} (presentation '{config.presentation['name']}' makes"
                f" {'x'.join(map(str, shown))} of an image of {'x'.join(map(str, image_shape))})"
            ) from None
        boundaries = [BOUNDARIES.make(config.boundary, num_classes).to(device) for _ in pieces]
        specs = _specs(presentation, pieces, boundaries, blank, num_classes, head)
        plan = _plan(config, [piece.name for piece in pieces])
        check_plan(plan, config)
        check_black_boxes(pieces, plan, config)
        with_loss = {i for segment in plan.segments() for i in segment.losses}
        objectives = [
            _objective(config, piece.name, spec) if spec.index in with_loss else None
            for piece, spec in zip(pieces, specs, strict=True)
        ]
        pieces = _lean(pieces, objectives, plan, config)
        specs = [replace(spec, later=None) for spec in specs]  # copied by now, if anybody did
        parts = zip(specs, pieces, boundaries, objectives, strict=True)
        blocks = [Block(*part) for part in parts]
        readouts = {
            name: READOUTS.make({"name": name, **options}, specs)
            for name, options in config.readouts.items()
        }
        check_owners(readouts, blocks, config)
        readouts = answering(readouts, blocks, presentation, config)
        for readout in readouts.values():
            readout.label_smoothing = _label_smoothing(config, len(blocks))[-1]
    update = UPDATES.make(config.update)
    network = Network(presentation, blocks, readouts, plan, update, image_shape, config)
    if config.compile:
        _compile(network, None if config.compile is True else config.compile)
    return network.to(device).to(memory_format=network.memory_format)


def checked_shape(shape: Any) -> Shape:
    """The shape (C, H, W) of an image.

    Raises:
        InputError: it is none.
    """
    if not is_image_shape(shape):
        got = f"a {type(shape).__name__}" if hasattr(shape, "shape") else repr(shape)
        raise InputError(
            "image_shape: the shape (C, H, W) of an image is needed, such as (3, 32, 32)"
            f" (got {got})"
        )
    channels, height, width = map(int, shape)
    return channels, height, width


def _count(num_classes: Any) -> int:
    if not is_count(num_classes):
        raise InputError(f"num_classes: a whole number is needed (got {num_classes!r})")
    return int(num_classes)


def is_count(value: object, least: int = 1) -> TypeGuard[int]:
    """Whether it is a whole number, numpy's among them, and large enough."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_image_shape(shape: object) -> TypeGuard[Sequence[int]]:
    """Whether it can be the shape (C, H, W) of an image."""
    return isinstance(shape, Sequence) and len(shape) == 3 and all(map(is_count, shape))


def device_of(module: nn.Module | Sequence[nn.Module] | None) -> torch.device:
    """Where the weights of a network or of its parts are; None: where a fresh one is made."""
    parts = [module] if isinstance(module, nn.Module) else module or []
    own = next((parameter for part in parts for parameter in part.parameters()), None)
    return torch.get_default_device() if own is None else own.device


def _compile(network: Network, mode: str | None) -> None:
    import torch._dynamo.config as dynamo  # late: it takes seconds

    # To torch all blocks, of all networks, are one function seen with other weights, of which it
    # keeps 8 by default; each is compiled for training and for evaluation, and again for a last,
    # smaller batch.
    dynamo.recompile_limit += 4 * len(network)
    for block in network:
        block.body.compile(mode=mode)


def max_classes(method: str | Config, *, image_shape: Shape, **values: Any) -> int | None:
    """The largest number of classes that a method can serve for an image of this shape (C, H, W).

    Returns:
        None where there is no limit.
    """
    network = build(method, image_shape=image_shape, num_classes=1, **values)
    config = network.config
    limits = [type(network.presentation).max_classes(image_shape, config.presentation)]
    for block in network:
        if block.objective is not None:
            limits.append(type(block.objective).max_classes(block.spec, config.objective))
    return min((limit for limit in limits if limit is not None), default=None)


def _plan(config: Config, names: Sequence[str]) -> Plan:
    """When each of the blocks with these names learns."""
    first = 0 if config.freeze_until is None else _place(config.freeze_until, names)
    left = len(names) - first
    plan: Plan = PLANS.make(config.plan, left) if left else Together(0)
    return Frozen(plan, first) if first else plan


def _place(block: str, names: Sequence[str]) -> int:
    """Where a block stands that is given by name or number; the classifier is the last."""
    if block == HEAD:
        return len(names)
    if block.isdecimal() and block not in names and int(block) < len(names):
        return int(block)
    if block not in names:
        raise unknown("block", block, [*names, HEAD])
    return names.index(block)


def _objective(config: Config, block: str, spec: BlockSpec) -> Objective:
    name = config.objective["name"]
    most = OBJECTIVES[name].max_classes(spec, config.objective)
    check_classes(f"objective '{name}' at block '{block}'", spec.num_classes, most)
    objective: Objective = OBJECTIVES.make(config.objective, spec)
    objective.label_smoothing = _label_smoothing(config, spec.count)[spec.index]
    if config.class_difficulty is not None:
        objective.difficulty = ClassDifficulty(spec.num_classes, config.class_difficulty)
    check_objective(objective, config)
    return objective


def _label_smoothing(config: Config, blocks: int) -> list[float]:
    """Of every block."""
    given = config.label_smoothing
    return stretch(given if isinstance(given, list) else [given], blocks)


def _lean(
    pieces: Sequence[Piece],
    objectives: Sequence[Objective | None],
    plan: Plan,
    config: Config,
) -> list[Piece]:
    """Pieces without the mask of a last ReLU, where an objective that needs none is all they learn
    from."""
    graphs = [(*segment.blocks, *segment.through) for segment in plan.segments()]
    alone = {graph[0] for graph in graphs if len(graph) == 1}
    shared = {index for graph in graphs if len(graph) > 1 for index in graph}
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
    module: nn.Module | Sequence[nn.Module], example: Tensor, num_classes: int, config: Config
) -> tuple[list[Piece], nn.Module | None]:
    """The network's blocks and its classifier."""
    elsewhere = example.device != torch.get_default_device()
    judge = OBJECTIVES[config.objective["name"]]
    # What a cut tries out on blank values of its own is tried where the weights are.
    with example.device if elsewhere else nullcontext():
        if isinstance(module, nn.Module):
            pieces, head = split(module, example, num_classes, config.partition, judge.copies_later)
        else:
            pieces, head = split_by_hand(module, example, num_classes)
    # It needs all that the model's classifier takes, or copies of its layers.
    whole = {len(pieces) - 1} if head and judge.uses_classifier(config.objective) else set()
    whole |= set(range(len(pieces) - 1)) if judge.copies_later else set()
    for index in whole:
        pieces[index] = pieces[index]._replace(features=pieces[index].features.whole())
    return pieces, head


@torch.no_grad()
def _specs(
    presentation: Presentation,
    pieces: Sequence[Piece],
    boundaries: Sequence[Boundary],
    blank: Tensor,
    num_classes: int,
    head: nn.Module | None,
) -> list[BlockSpec]:
    """What every block's objective is told, from one blank image, evaluated."""
    x = presentation.neutral_rows(blank)
    seen = x
    shapes: list[tuple[Shape, Shape, Shape]] = []
    for index, (piece, boundary) in enumerate(zip(pieces, boundaries, strict=True)):
        if index > 0:
            view = pieces[index - 1].output
            x = view.gather(presentation.block_input(view.spread(x), training=False))
        with ExitStack() as modes:
            for part in (piece.body, piece.tail, boundary):
                modes.enter_context(evaluating(part))
            try:
                value = piece.body(x)
                x = piece.output.gather(boundary(piece.output.spread(piece.tail(value))))
            except RuntimeError as error:
                raise InputError(
                    f"block '{piece.name}' cannot serve an input of {tuple(x.shape[1:])}: {error}"
                ) from None
        given, seen = seen, piece.output(x)
        shapes.append((_shape(given), _shape(piece.features(value)), _shape(seen)))
    return [
        BlockSpec(
            index=index,
            count=len(pieces),
            num_classes=num_classes,
            image_shape=_shape(blank),
            input=shapes[index][0],
            features=shapes[index][1],
            output=shapes[index][2],
            widest=max(features[0] for _, features, _ in shapes),
            input_view=pieces[index - 1].output if index else View(),
            feature_view=piece.features,
            output_view=piece.output,
            head=head if index == len(pieces) - 1 else None,
            later=_later(pieces[index:]),
        )
        for index, piece in enumerate(pieces)
    ]


def _later(pieces: Sequence[Piece]) -> Later | None:
    """What is behind the first of these pieces."""
    here, *behind = pieces
    return Later(here.tail, tuple(piece.sections for piece in behind)) if behind else None


def _shape(x: Tensor) -> Shape:
    """(C, H, W)."""
    _, channels, height, width = x.shape
    return channels, height, width
