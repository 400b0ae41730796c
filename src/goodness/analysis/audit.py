"""How far a network's learning reaches, found out by trying, not by asking.

From every different plan of the run on, a few steps are made on copies of the network, each step
with another batch:

- *gradient*: for which parameters does a loss have a gradient, through whose weights does its
  backward pass go, and what else does its turn change?
- *intervention*: nudge or redraw one block, or the readouts, before every step, and make the same
  steps again. Which other blocks' gradients, parameters or buffers differ? What later blocks tell
  earlier ones without a gradient shows only here.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import Node, saved_tensors_hooks

from goodness.clock import Clock
from goodness.errors import InputError
from goodness.learning.learner import Learner, PipelineState, StepResult
from goodness.methods import Locality
from goodness.network.network import Network
from goodness.plan import Segment
from goodness.seeds import kept_generators, mix

ROWS = 8
SIZES = (1.0, None, 4.0, 0.25)
"""Of the steps in a row, what redrawn weights are multiplied by; None nudges them alone."""
STEPS = len(SIZES)
STEPS_PER_EPOCH = 3
"""Fewer than `STEPS`: an epoch ends on the way."""
READOUTS = "readouts"

Tensors = dict[tuple[str, int], Tensor]
"""By name, and by the network among several."""


@dataclass
class BlockReport:
    """What learning does to and needs from the network, for one block.

    Attributes:
        name: the block.
        index: its place.
        touches: the parameters that a gradient reaches from the losses judged at this block, the
            weights of other blocks that it passes, and what else its turn changes in other blocks.
        foreign: those of them that its segment neither owns nor is planned to pass.
        updates: the block's parameters and buffers that the steps change.
        depends_on: other blocks whose weights change what the steps do to this one.
        hears: later blocks, and ``"readouts"``, that do so sooner than shared graphs can explain.
        learns: whether more of the block than its objective learns.
    """

    name: str
    index: int
    touches: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    depends_on: list[int] = field(default_factory=list)
    hears: list[str] = field(default_factory=list)
    learns: bool = False

    @property
    def reaches_later(self) -> list[int]:
        """The later blocks that it touches."""
        places = {_block_of(name) for name in self.touches}
        return sorted(place for place in places if place is not None and place > self.index)


@dataclass
class Audit:
    """The report of every block, and what they amount to.

    Attributes:
        blocks: in network order.
        layers: the number of layers with weights in each block's body.
        readouts: the parameters of blocks that a readout's loss has a gradient for, and what else
            it changes in blocks, by readout; of most there is nothing.
        left: the parameters that hold a gradient when a step is over; mostly none.
    """

    blocks: list[BlockReport]
    layers: list[int]
    readouts: dict[str, list[str]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    @property
    def locality(self) -> Locality:
        """The narrowest word that is true of the whole network."""
        learning = sum(block.learns for block in self.blocks)
        if not learning:
            return Locality.READOUT_ONLY
        reach, told = self._reach(), any(block.hears for block in self.blocks)
        if reach > 1 or (reach == 1 and (told or learning <= 2)):
            return Locality.GLOBAL
        if reach == 1:
            return Locality.OVERLAPPING
        if told:
            return Locality.BROADCAST
        return Locality.LAYER if max(self.layers) == 1 else Locality.BLOCK

    def _reach(self) -> int:
        """The largest distance between a loss and what it touches, in blocks."""
        count = len(self.blocks)
        reached = [(block.index, block.touches) for block in self.blocks]
        reached += [(count, names) for names in self.readouts.values()]
        foreign = [*(block.foreign for block in self.blocks), *self.readouts.values()]
        if set(self.left).difference(*foreign):
            return count  # nobody knows which loss they are of
        return max(
            (abs(index - _place(name, count)) for index, names in reached for name in names),
            default=0,
        )

    def _counted(self, tensors: list[str]) -> str:
        """How many tensors of each block."""
        names = [*(block.name for block in self.blocks), READOUTS]
        found = Counter(names[_place(name, len(self.blocks))] for name in tensors)
        counts = (f"{n} tensor{'s' if n > 1 else ''} of {name}" for name, n in found.items())
        return ", ".join(counts) or "nothing"

    def __str__(self) -> str:
        lines = [f"locality: {self.locality.value}"]
        for block in self.blocks:
            later = [self.blocks[i].name for i in block.depends_on if i > block.index]
            line = (
                f"{block.name}: its loss reaches {self._counted(block.touches)};"
                f" a step changes {self._counted(block.updates)};"
                f" later blocks it depends on: {', '.join(later) or 'none'}"
            )
            if block.hears:
                line += f"; it hears without a gradient: {', '.join(block.hears)}"
            lines.append(line)
        lines += [
            f"readout {name}: its loss reaches {self._counted(tensors)}"
            for name, tensors in self.readouts.items()
        ]
        if self.left:
            lines.append(f"a step leaves gradients behind: {self._counted(self.left)}")
        return "\n".join(lines)


def audit(network: Network) -> Audit:
    """Try out which blocks' learning touches and depends on which others.

    Where neighbouring blocks share a graph, weights carry what later blocks have learnt one block
    further at each step: over several steps the first block depends on all of them.

    Args:
        network: is left as it was; the experiments run on copies.

    Raises:
        InputError: it is another kind of model.
    """
    if not isinstance(network, Network):
        raise InputError(
            f"audit: a {type(network).__name__} has no blocks that learn: give it what"
            " goodness.build or goodness.localize returns"
        )
    with kept_generators(network.device):
        return _Trials(network).report()


class _Trial(Learner):
    """A learner on a copy that keeps the gradients it updates by, in ``gradients``."""

    def __init__(self, network: Network, run: Clock, start: int) -> None:
        super().__init__(network, run=run)
        self.steps = start
        self.gradients: list[Tensors] = []
        self._names: dict[Tensor, str] = {p: name for name, p in network.named_parameters()}

    def owned(self, segment: Segment) -> set[str]:
        """The parameters that a segment's turn may teach."""
        return {self._names[p] for p in self.parameters.get(str(segment.owner), ())}

    def apply(self, owner: str, clock: Clock) -> None:
        """Note the gradients first: a saturated update can hide a difference."""
        for parameter in self.parameters.get(owner, ()):
            if parameter.grad is not None:
                self.gradients[-1][self._names[parameter], 0] = parameter.grad.clone()
        super().apply(owner, clock)


class _Watched(_Trial):
    """Notes too what readouts reach in blocks, in ``readouts``.

    Args:
        network: a copy.
        original: of what.
        run: the length of the run.
        start: the first step.
    """

    def __init__(self, network: Network, original: Network, run: Clock, start: int) -> None:
        super().__init__(network, run, start)
        self.readouts: dict[str, list[str]] = {name: [] for name in network.readouts}
        self._networks = (network, original)
        self._known: dict[Tensor, str] = {
            p: name for each in self._networks for name, p in each.named_parameters()
        }
        for name, readout in network.readouts.items():
            # That the learner lets no gradient out of a readout is no merit of the readout.
            vars(readout)["loss"] = partial(self._loss, name, readout.loss)

    def _loss(self, name: str, loss: Callable[..., Tensor], *args: Any) -> Tensor:
        found = loss(*args)
        self._note(name, (self._known[p] for p in _leaves(found) if p in self._known))
        return found

    def _note(self, readout: str, names: Iterable[str]) -> None:
        _note(self.readouts[readout], (name for name in names if _block_of(name) is not None))

    def deliver(self, state: PipelineState, y: Tensor, clock: Clock) -> StepResult:
        """Let the readouts learn."""
        self._before = self._everything()
        return super().deliver(state, y, clock)

    def apply(self, owner: str, clock: Clock) -> None:
        """Note what a readout has done to blocks."""
        super().apply(owner, clock)
        if owner in self.readouts:
            before, self._before = self._before, self._everything()
            for one, other in zip(before, self._before, strict=True):
                self._note(owner, _changed(one, other))

    def _everything(self) -> tuple[Tensors, Tensors]:
        return _gradients(*self._networks), _state(*self._networks)


class _Trace(NamedTuple):
    """What a few steps did."""

    gradients: list[Tensors]
    """Of every step."""
    graphs: list[list[tuple[int, int]]]
    """Of every step, each turn's first and last block: its own and all that it touches."""
    state: Tensors
    """Behind the last one."""


class _Trials:
    """The same steps over and over, on copies of a network.

    What a function has closed over is not copied along with the network, and refers to the
    original: that is watched and changed as the copies are, and put back.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._count = len(network)
        self._run = Clock(0, STEPS_PER_EPOCH, max(network.config.epochs, STEPS * self._count))
        self._batches = _batches(network)
        self._blocks = [BlockReport(block.name, index) for index, block in enumerate(network)]
        self._readouts: dict[str, list[str]] = {}
        self._left: list[str] = []
        self._original = [(tensor, tensor.detach().clone()) for _, tensor in _tensors(network)]
        self._held = [(parameter, parameter.grad) for parameter in network.parameters()]

    def report(self) -> Audit:
        """Make all trials."""
        network = self._network
        try:
            for number, (start, sources) in enumerate(self._moments()):
                reference = self._reference(start)
                for draw, source in enumerate(sources):
                    self._intervene(start, source, number, draw, reference)
        finally:
            self._restore()
            for parameter, gradient in self._held:
                parameter.grad = gradient
        moved = {name for block in self._blocks for name in (*block.touches, *block.updates)}
        for name, _ in network.named_parameters():
            index = _block_of(name)
            own = f"blocks.{index}.objective."
            if index is not None and name in moved and not name.startswith(own):
                self._blocks[index].learns = True
        for block in self._blocks:
            block.depends_on.sort()
        layers = [sum(1 for p in block.body.parameters() if p.dim() > 1) for block in network]
        return Audit(self._blocks, layers, self._readouts, self._left)

    def _moments(self) -> Iterator[tuple[int, list[int]]]:
        """The first step of every different plan, and what to intervene on from there.

        A plan that only other readouts go along with is a moment of its own, for these. The last
        block, whose answers are what is mostly listened to, is redrawn twice as often.
        """
        named = (name for (name, _), _ in _tensors(self._network))
        trained = [self._count] if any(_block_of(name) is None for name in named) else []
        sources = [*range(self._count), self._count - 1, *trained]
        seen: set[object] = set()
        for step in range(self._run.steps):
            clock = self._run._replace(step=step)
            readouts = self._network.readouts.items()
            learning = frozenset(n for n, r in readouts if r.trainable and r.started(clock))
            plan = self._plan(step)
            judged = any(segment.losses for segment in plan)
            if (plan, learning) in seen or not (judged or learning):
                continue
            yield step, (trained if plan in seen else sources) if judged else []
            seen |= {plan, (plan, learning)}

    def _plan(self, step: int) -> tuple[Segment, ...]:
        plan = self._network.plan.at(self._run._replace(step=step))
        return tuple(segment._replace(clock=None) for segment in plan)

    def _restore(self) -> None:
        """Make the original what it was, but for gradients that it had."""
        for tensor, value in self._original:
            tensor.data.copy_(value)
        self._network.zero_grad(set_to_none=True)

    def _copied(self) -> Network:
        """A copy to make steps on."""
        self._restore()
        trial = copy.deepcopy(self._network)
        # Blocks share the loss scale of fp16; and of every step the update shall be seen.
        plain = {"amp": "none", "accumulate_steps": 1, "ema": None}
        trial.config = trial.config.model_copy(update=plain)
        trial.initialize([self._batches[0][0]])  # no step of learning
        return trial

    def _reference(self, start: int) -> _Trace:
        """Steps without an intervention, watched closely."""
        try:
            return self._watch(start, _passed)
        except RuntimeError as error:
            if "saved tensor hooks" not in str(error):
                raise
            # An objective uses torch.func, which runs without such hooks alone.
            return self._watch(start, lambda *_: nullcontext([]))

    def _watch(
        self, start: int, passed: Callable[..., AbstractContextManager[list[str]]]
    ) -> _Trace:
        trial = self._copied()
        learner = _Watched(trial, self._network, self._run, start)
        before = _state(trial)
        both = trial, self._network
        graphs: list[list[tuple[int, int]]] = []
        for images, y in self._batches[: self._run.steps - start]:
            learner.gradients.append({})
            graphs.append([])
            for turn in learner.turns(images, y):
                held, state = _gradients(*both), _state(*both)
                blocks = turn.segment.blocks
                with passed(both, blocks) as found:
                    turn.backward()
                through = [n for n in found if _block_of(n) in turn.segment.through]
                _note(found, _changed(held, _gradients(*both)))
                turn.step()
                changed = _changed(state, _state(*both))
                _note(found, (name for name in changed if _block_of(name) not in blocks))
                report = self._blocks[turn.segment.losses[-1]]
                places = [report.index, *(_place(name, self._count) for name in found)]
                graphs[-1].append((min(places), max(places)))
                _note(report.touches, found)
                owned = learner.owned(turn.segment).union(through)
                _note(report.foreign, (name for name in found if name not in owned))
            _note(self._left, (name for name, _ in _gradients(*both)))
        for name, found in learner.readouts.items():
            if found:
                _note(self._readouts.setdefault(name, []), found)
        after = _state(trial)
        for name in _changed(before, after):
            if (index := _block_of(name)) is not None:
                _note(self._blocks[index].updates, [name])
        return _Trace(learner.gradients, graphs, after)

    def _intervene(
        self, start: int, source: int, number: int, draw: int, reference: _Trace
    ) -> None:
        """Note the blocks that are treated differently when another one is changed.

        Args:
            start: the first step.
            source: the block; the number of blocks for the readouts.
            number: of the moment.
            draw: of the interventions at this moment.
            reference: what happens without.
        """
        trial = self._copied()
        learner = _Trial(trial, self._run, start)
        # Where blocks share graphs the steps soon mix them all: a late intervention shows what
        # is heard late.
        shared = any(len(segment.blocks) > 1 for segment in self._plan(start))
        late = STEPS // 2 if shared and number % 2 else 0
        first = source
        steps = STEPS if source else 1  # no block is before the first one
        for step, (images, y) in enumerate(self._batches[: min(steps, self._run.steps - start)]):
            if step >= late:
                _disturb(trial, self._network, source, draw, step)
                # A graph that goes as far as a change tells its first block of it.
                first = min(
                    [first, *(low for low, high in reference.graphs[step] if high >= first)]
                )
            learner.gradients.append({})
            learner.step(images, y)
            self._compare(source, first, reference.gradients[step], learner.gradients[step])
        if source:
            self._compare(source, first, reference.state, _state(trial))

    def _compare(self, source: int, first: int, one: Tensors, other: Tensors) -> None:
        """Note who differs; from block ``first`` on graphs and inputs explain it."""
        places = {_place(name, self._count) for name in _changed(one, other)}
        for index in places - {source, self._count}:
            block = self._blocks[index]
            if source < self._count:
                _note(block.depends_on, [source])
            if index < first:
                _note(block.hears, [[*self._network.names, READOUTS][source]])


T = TypeVar("T")


def _note(found: list[T], items: Iterable[T]) -> None:
    found += [item for item in dict.fromkeys(items) if item not in found]


def _tensors(*networks: Network) -> Iterator[tuple[tuple[str, int], Tensor]]:
    """Parameters and buffers."""
    for place, network in enumerate(networks):
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            yield (name, place), tensor


def _state(*networks: Network) -> Tensors:
    """All that learning changes."""
    state = {key: tensor.detach().clone() for key, tensor in _tensors(*networks)}
    for place, network in enumerate(networks):
        for index, block in enumerate(network):
            if block.objective is not None:
                for key, tensor in block.objective.pending.items():
                    state[f"blocks.{index}.objective.pending.{key}", place] = tensor.clone()
    return state


def _gradients(*networks: Network) -> Tensors:
    return {
        (name, place): parameter.grad.clone()
        for place, network in enumerate(networks)
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def _changed(before: Tensors, after: Tensors) -> list[str]:
    """The names of what is not the same in both, bit for bit."""
    return [
        name
        for name, place in {**before, **after}
        if (one := before.get((name, place))) is None
        or (other := after.get((name, place))) is None
        or not torch.equal(one, other)
    ]


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """What a loss has a gradient for."""
    seen: set[Node] = set()
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [before for before, _ in node.next_functions]


@contextmanager
def _passed(networks: Sequence[Network], own: range) -> Iterator[list[str]]:
    """The weights that backward passes go through, of other blocks than ``own``.

    A loss may have no gradient for weights that it detaches, and still be passed back through them.
    """
    weights = {
        tensor.untyped_storage().data_ptr(): name
        for (name, _), tensor in _tensors(*networks)
        if isinstance(tensor, torch.nn.Parameter) and _block_of(name) not in own
    }
    found: list[str] = []

    def pack(tensor: Tensor) -> tuple[str | None, Tensor]:
        return weights.get(tensor.untyped_storage().data_ptr()), tensor

    def unpack(packed: tuple[str | None, Tensor]) -> Tensor:
        name, tensor = packed
        if name is not None:
            _note(found, [name])
        return tensor

    with saved_tensors_hooks(pack, unpack):
        yield found


@torch.no_grad()
def _disturb(network: Network, original: Network, source: int, draw: int, step: int) -> None:
    """Change the weights and buffers of a block, or of the readouts, in both networks.

    A nudge leaves what a block says nearly as it is; redrawn it says something else, and more or
    less loudly.
    """
    size = SIZES[step]
    generator = torch.Generator().manual_seed(mix(0, "audit", draw, step))
    twins = dict(_tensors(original))
    for key, tensor in _tensors(network):
        if _place(key[0], len(network)) != source or not tensor.is_floating_point():
            continue
        value = tensor.detach().float().cpu()
        noise = torch.randn(value.shape, generator=generator).abs()
        noise *= 0.1 * (float(value.abs().mean()) or 1.0)
        if size is not None:
            order = torch.randperm(value.numel(), generator=generator)
            value = size * value.flatten()[order].reshape(value.shape)
            if (value < 0).any():  # not so in variances
                value *= torch.randint(2, value.shape, generator=generator) * 2 - 1
        tensor.data.copy_(value + noise)
        if key in twins and twins[key].shape == tensor.shape:  # it may be a memory of the steps
            twins[key].data.copy_(tensor)


@torch.no_grad()
def _batches(network: Network) -> list[tuple[Tensor, Tensor]]:
    """Random images for every step, with random labels or with those that the last block gives.

    Without an intervention it is then right, whatever hangs on that.
    """
    trial = copy.deepcopy(network).train()
    found = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn((ROWS, *network.image_shape), generator=generator).to(network.device)
        y = torch.randint(network.num_classes, (ROWS,), generator=generator).to(network.device)
        scores = None if step % 2 else trial.outputs(images, []).blocks[-1]
        found.append((images, y if scores is None else scores.argmax(1)))
    return found


def _block_of(name: str) -> int | None:
    """The block that a tensor belongs to; a presentation's belong to the first."""
    parts = name.split(".")
    if parts[0] == "presentation":
        return 0
    return int(parts[1]) if parts[0] == "blocks" else None


def _place(name: str, count: int) -> int:
    """The block that a tensor belongs to; a readout's stand behind the last one."""
    index = _block_of(name)
    return count if index is None else index
