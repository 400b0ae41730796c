"""How far a network's learning reaches, found out by trying, not by asking.

Two experiments on copies of the network:

- *gradient*: which parameters does the loss of each segment reach by autograd?
- *intervention*: perturb one block, repeat the step from the same state and seeds; which other
  blocks' gradients, updated parameters or buffers differ? Errors that are broadcast backwards
  without a gradient path show only here.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from goodness.clock import Clock
from goodness.learning.learner import Learner
from goodness.methods import Locality
from goodness.network.network import Network
from goodness.plan import Segment
from goodness.seeds import kept_generators

ROWS = 8
STEPS_PER_EPOCH = 4


@dataclass
class BlockReport:
    """What learning does to and needs from the network, for one block.

    Attributes:
        name: the block.
        index: its place.
        touches: the parameters that a gradient reaches from the losses judged at this block.
        updates: the block's parameters and buffers that a step changes.
        depends_on: other blocks whose weights change what a step does to this one.
    """

    name: str
    index: int
    touches: list[str] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    depends_on: list[int] = field(default_factory=list)


@dataclass
class Audit:
    """The report of every block, and what they amount to.

    Attributes:
        blocks: in network order.
        layers: the number of layers with weights in each block's body.
    """

    blocks: list[BlockReport]
    layers: list[int]

    @property
    def locality(self) -> Locality:
        """The narrowest word that is true of the whole network."""
        count = len(self.blocks)
        reach = max(
            (block.index - touched for block in self.blocks for touched in self._touched(block)),
            default=0,
        )
        backwards = any(other > block.index for block in self.blocks for other in block.depends_on)
        bodies = any(".body." in name for block in self.blocks for name in block.touches)
        if not bodies:
            return Locality.READOUT_ONLY
        if reach > 1 or (reach == 1 and count == 2):
            return Locality.GLOBAL
        if reach == 1:
            return Locality.OVERLAPPING
        if backwards:
            return Locality.BROADCAST
        return Locality.LAYER if max(self.layers) == 1 else Locality.BLOCK

    def _touched(self, block: BlockReport) -> set[int]:
        return {place for name in block.touches if (place := _block_of(name)) is not None}

    def _counted(self, tensors: list[str]) -> str:
        """How many tensors of each block."""
        places = Counter(_block_of(name) for name in tensors)
        names: dict[int | None, str] = {block.index: block.name for block in self.blocks}
        names[None] = "no block"
        found = [f"{count} tensors of {names[place]}" for place, count in places.items()]
        return ", ".join(found) or "nothing"

    def __str__(self) -> str:
        lines = [f"locality: {self.locality.value}"]
        for block in self.blocks:
            later = [self.blocks[i].name for i in block.depends_on if i > block.index]
            lines.append(
                f"{block.name}: its loss reaches {self._counted(block.touches)};"
                f" a step changes {self._counted(block.updates)};"
                f" later blocks it depends on: {', '.join(later) or 'none'}"
            )
        return "\n".join(lines)


def audit(network: Network) -> Audit:
    """Try out which blocks' learning touches and depends on which others.

    Args:
        network: is left as it was; the experiments run on copies.
    """
    with kept_generators(network.device):
        return _audit(network)


def _audit(network: Network) -> Audit:
    image, y = _batch(network)
    blocks = [BlockReport(block.name, index) for index, block in enumerate(network)]
    for index, names in _gradient_reach(network, image, y).items():
        blocks[index].touches = names
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for step in _moments(network):
        reference = _step(network, image, y, step)
        for name, value in reference.after.items():
            owner = _block_of(name)
            if owner is not None and not torch.equal(value, before[name]):
                _note(blocks[owner].updates, name)
        for source in range(len(network)):
            changed = _step(_perturbed(network, source), image, y, step)
            for report in blocks:
                if report.index != source and reference.differs(changed, report.index):
                    _note(report.depends_on, source)
    for report in blocks:
        report.depends_on.sort()
    layers = [sum(1 for p in block.body.parameters() if p.dim() > 1) for block in network]
    return Audit(blocks, layers)


T = TypeVar("T")


def _note(found: list[T], item: T) -> None:
    if item not in found:
        found.append(item)


def _run(network: Network) -> Clock:
    return Clock(0, STEPS_PER_EPOCH, network.config.epochs)


def _moments(network: Network) -> list[int]:
    """One step for every different plan of the run."""
    run = _run(network)
    seen: dict[tuple[Segment, ...], int] = {}
    for step in range(run.steps):
        plan = tuple(s._replace(clock=None) for s in network.plan.at(run._replace(step=step)))
        if any(segment.losses for segment in plan):
            seen.setdefault(plan, step)
    return list(seen.values())


@dataclass
class _Step:
    """Gradients and state after one training step."""

    gradients: dict[str, Tensor]
    after: dict[str, Tensor]

    def differs(self, other: _Step, index: int) -> bool:
        """Whether block ``index`` was treated differently; bit for bit."""
        return any(
            _block_of(name) == index and not torch.equal(value, theirs[name])
            for mine, theirs in ((self.gradients, other.gradients), (self.after, other.after))
            for name, value in mine.items()
        )


def _step(network: Network, images: Tensor, y: Tensor, step: int) -> _Step:
    trial = copy.deepcopy(network)
    learner = Learner(trial, run=_run(network))
    learner.steps = step
    gradients: dict[str, Tensor] = {}
    names = {parameter: name for name, parameter in trial.named_parameters()}
    for optimizer in learner.optimizers.values():
        # The gradient as the optimizer sees it: a saturated update can hide a dependence.
        optimizer.register_step_pre_hook(
            lambda opt, *_: gradients.update(
                {
                    names[p]: p.grad.clone()
                    for group in opt.param_groups
                    for p in group["params"]
                    if p.grad is not None
                }
            )
        )
    learner.step(images, y)
    learner.end_epoch()
    return _Step(gradients, {name: value.clone() for name, value in trial.state_dict().items()})


def _gradient_reach(network: Network, images: Tensor, y: Tensor) -> dict[int, list[str]]:
    """Per judged block, the names of all parameters that the loss there has a gradient for."""
    reach: dict[int, list[str]] = {}
    for step in _moments(network):
        trial = copy.deepcopy(network)
        learner = Learner(trial, run=_run(network))
        learner.steps = step
        for turn in learner.turns(images, y):
            turn.backward()
            found = reach.setdefault(turn.segment.losses[-1], [])
            for name, parameter in trial.named_parameters():
                if parameter.grad is not None and _block_of(name) is not None:
                    _note(found, name)
            trial.zero_grad(set_to_none=True)
    return reach


def _perturbed(network: Network, index: int) -> Network:
    other = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(index)
    with torch.no_grad():
        for tensor in (*other.blocks[index].parameters(), *other.blocks[index].buffers()):
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator).to(tensor.device)
                tensor.add_(noise.abs() * 0.1)
    return other


def _batch(network: Network) -> tuple[Tensor, Tensor]:
    spec = network[0].spec
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((ROWS, *network.image_shape), generator=generator).to(network.device)
    y = torch.arange(ROWS, device=network.device) % spec.num_classes
    return image, y


def _block_of(name: str) -> int | None:
    """The block that a parameter belongs to; a presentation's belong to the first."""
    parts = name.split(".")
    if parts[0] == "presentation":
        return 0
    return int(parts[1]) if parts[0] == "blocks" else None
