"""Training on a device: a forward-backward program per block, and how much memory each plans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from goodness.data import Preprocessing
from goodness.errors import InputError, reason
from goodness.export.answering import applied_statistics, portable
from goodness.export.executorch import Lowered, lacks, lowered
from goodness.export.exporting import PLAN
from goodness.export.pooling import plain_pooling
from goodness.files import write_json, write_whole
from goodness.network.block import Block
from goodness.network.build import build
from goodness.network.network import Network
from goodness.objective import Context, Objective
from goodness.plan import Segment
from goodness.results import SCHEMA
from goodness.update.gradient import Gradient


class SegmentProgram(nn.Module):
    """What one segment does in a training step; most segments are one block.

    Its parameters have the names that they have in the network.

    Args:
        network: in training mode, with plain layout.
        segment: its blocks.
    """

    def __init__(self, network: Network, segment: Segment) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({str(index): network[index] for index in segment.blocks})
        self.losses = segment.losses
        self.last = segment.blocks[-1]
        self.trains_body = network.update.records_body
        self.presentation = network.presentation if segment.blocks[0] == 0 else None
        self.train(segment.training)

    @property
    def name(self) -> str:
        """For messages."""
        named = [f"'{block.name}'" for block in self.blocks.values()]
        return f"block {named[0]}" if len(named) == 1 else f"blocks {named[0]} to {named[-1]}"

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """A step's forward pass.

        Args:
            x: preprocessed images (N, C, H, W), or the output of the block before.
            y: labels (N,).

        Returns:
            The loss, a scalar, where the segment has one; the last block's output; and the scores
            (N, K) of every block with a loss. All but the loss are detached.
        """
        if self.presentation is not None:
            x = self.presentation.training_rows(x, y)
        losses, found = [], []
        for key, block in self.members():
            value = block.body(x)
            value = value if self.trains_body else value.detach()
            if key in self.losses and block.objective is not None:
                features = block.features(value)
                scores = block.objective.scores(features)
                context = Context(block.input(x.detach()), x.new_empty(0))
                rows = block.objective.loss(features, scores, y, context)
                losses.append(rows.mean())
                found.append(scores.detach())
            x = block.output(value.detach() if key == self.last else value)
        total = [torch.stack(losses).sum() if len(losses) > 1 else losses[0]] if losses else []
        return (*total, x.detach(), *found)

    def members(self) -> Iterator[tuple[int, Block]]:
        """Its blocks with their places in the network."""
        for key, block in self.blocks.items():
            assert isinstance(block, Block)
            yield int(key), block


@dataclass(frozen=True)
class TrainingPlan:
    """A segment's program and its facts."""

    blocks: list[str]
    """The blocks' names."""
    learns: bool
    """Whether it gives a loss and gradients, or an output alone."""
    input: list[int]
    output: list[int]
    """Shapes, the batch first."""
    lowered: Lowered
    weights: dict[str, list[int]]
    """Shapes of what is trained, by the names in the network."""
    weight_bytes: int
    """Of all its weights and buffers."""

    def facts(self) -> dict[str, Any]:
        """What ``plan.json`` says of it."""
        return {
            "blocks": self.blocks,
            "learns": self.learns,
            "input": self.input,
            "output": self.output,
            "planned_bytes": self.lowered.planned_bytes,
            "weight_bytes": self.weight_bytes,
            "program_bytes": len(self.lowered.content),
            "weights": self.weights,
            "operators": self.lowered.operators,
        }


def write(network: Network, preprocessing: Preprocessing, folder: Path, batch: int) -> int:
    """Write every block's program and ``plan.json`` into a folder.

    Args:
        network: it stays as it is.
        preprocessing: the run's.
        folder: made if it is not there; programs of before in it are replaced.
        batch: images per step.

    Returns:
        The size of all programs in bytes.

    Raises:
        InputError: as `training_plans` does.
    """
    plans = training_plans(network, batch)
    mean, std = applied_statistics(preprocessing)
    (folder / "blocks").mkdir(parents=True, exist_ok=True)
    for old in (folder / "blocks").glob("*.pte"):
        old.unlink()
    programs = {f"blocks/{place}.pte": plan for place, plan in enumerate(plans)}
    content = {
        "schema": SCHEMA,
        "method": network.config.method,
        "plan": network.config.plan["name"],
        "batch": batch,
        "classes": preprocessing.classes,
        "mean": mean,
        "std": std,
        "largest_planned_bytes": max(plan.lowered.planned_bytes for plan in plans),
        "blocks": [{"program": name, **plan.facts()} for name, plan in programs.items()],
        "backprop": _beside(network, batch),
    }
    # First: a folder that a killed process has left half full is known by it.
    write_json(folder / PLAN, content)
    for name, plan in programs.items():
        write_whole(folder / name, plan.lowered.content)
    return sum(len(plan.lowered.content) for plan in plans)


def _beside(network: Network, batch: int) -> dict[str, Any]:
    """What backpropagation through the same model plans, or why it cannot."""
    try:
        return backprop_plan(network, batch).facts()
    except InputError as error:
        return {"refused": str(error)}


def training_plans(network: Network, batch: int) -> list[TrainingPlan]:
    """A program per segment, in network order.

    Args:
        network: it stays as it is.
        batch: how many images a step takes; programs have fixed shapes.

    Raises:
        InputError: executorch is not installed or lacks an operator, or the method's step is not a
            fixed program.
    """
    segments = _segments(network)
    learnt = [parameter.requires_grad for parameter in network.parameters()]
    network = portable(network)
    for parameter, own in zip(network.parameters(), learnt, strict=True):
        parameter.requires_grad_(own)
    plans, x = [], torch.zeros(batch, *network.image_shape)
    for segment in segments:
        program = SegmentProgram(network, segment)
        plan = _planned(program, x, torch.zeros(batch, dtype=torch.int64), network.num_classes)
        plans.append(plan)
        x = torch.zeros(plan.output)
    return plans


def backprop_plan(network: Network, batch: int) -> TrainingPlan:
    """Of backpropagation through the whole of the same model, with one loss at its end.

    Raises:
        InputError: executorch lacks an operator.
    """
    config = network.config
    whole = build(
        "backprop",
        image_shape=network.image_shape,
        num_classes=network.num_classes,
        initial=False,
        model=config.model,
        partition=config.partition,
        imports=config.imports,
    )
    return training_plans(whole, batch)[0]


def _planned(program: SegmentProgram, x: Tensor, y: Tensor, num_classes: int) -> TrainingPlan:
    _refuse(program.members(), _from_elsewhere)
    drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    outputs = _try(program, drawn, torch.arange(len(y)) % num_classes)
    _refuse(program.members(), _from_before)
    trained = {name: p for name, p in program.named_parameters() if p.requires_grad}
    try:
        exported = torch.export.export(program, (x, y)).run_decompositions(plain_pooling())
        if trained:
            from torch.export.experimental import _export_forward_backward

            exported = _export_forward_backward(exported)
    except Exception as error:  # torch says in many types what it cannot trace
        raise InputError(f"{program.name} cannot be exported: {reason(error)}") from None
    state = [*program.parameters(), *program.buffers()]
    return TrainingPlan(
        blocks=[block.name for _, block in program.members()],
        learns=bool(trained),
        input=list(x.shape),
        output=list(outputs[1 if program.losses else 0].shape),
        lowered=lowered(exported, program.name),
        weights={name: list(p.shape) for name, p in trained.items()},
        weight_bytes=sum(value.numel() * value.element_size() for value in state),
    )


class _Operators(TorchDispatchMode):
    """Notes what a fixed program cannot hold: random draws and batch norms that learn."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removesuffix(".default")
        if torch.Tag.nondeterministic_seeded in func.tags or "native_batch_norm_back" in name:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def _try(program: SegmentProgram, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """One step, to see which operators it takes; what gets no gradient is not trained."""
    if not (program.training and program.losses):
        program.requires_grad_(False)
    with _Operators() as operators, torch.enable_grad():
        outputs: tuple[Tensor, ...] = program(x, y)
        if program.losses and outputs[0].requires_grad:
            outputs[0].backward()
    if operators.found:
        raise lacks(program.name, operators.found)
    for parameter in program.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
    return outputs


def _segments(network: Network) -> tuple[Segment, ...]:
    """What learns together, each block in one; frozen blocks first."""
    plan, name = network.plan, network.config.plan["name"]
    segments = plan.segments()
    if first := segments[0].blocks[0] if segments else len(network):
        segments = (Segment(range(first), (), 0, training=False), *segments)
    blocks = [index for segment in segments for index in segment.blocks]
    if blocks != list(range(len(network))) or any(segment.through for segment in segments):
        raise InputError(f"plan '{name}': blocks that learn with others in turn have no program")
    if any(segment.losses and not segment.training for segment in segments):
        raise InputError(f"plan '{name}': heads that learn on frozen blocks have no program")
    if network.changes_rows:
        raise InputError(
            f"presentation '{network.config.presentation['name']}': rows that change between"
            " blocks have no program"
        )
    if not isinstance(network.update, Gradient):
        raise InputError(f"update '{network.config.update['name']}' has no program of its own")
    if network.config.class_weights:
        raise InputError("class_weights: they come from counts that a device does not have")
    return segments


def _refuse(
    blocks: Iterable[tuple[int, Block]], wants: Callable[[Objective], dict[str, bool]]
) -> None:
    """Refuse objectives that want what a block's program does not get."""
    for _, block in blocks:
        for what, wanted in wants(block.objective).items() if block.objective else ():
            if wanted:
                raise InputError(
                    f"block '{block.name}' learns from {what}, which a program of its own lacks"
                )


def _from_elsewhere(objective: Objective) -> dict[str, bool]:
    return {
        "the later blocks' scores": objective.needs_later_scores,
        "the image": objective.needs_images,
        "the next block's weights": objective.follows,
    }


def _from_before(objective: Objective) -> dict[str, bool]:
    return {"sums over many steps": objective.observes or objective.sums_epochs}
