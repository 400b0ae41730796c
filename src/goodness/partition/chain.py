"""A traced network as a chain: the operations between points where one tensor is all there is."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from goodness.errors import InputError
from goodness.modes import evaluating
from goodness.partition.tracing import Call, Traced, trace

SKIPS = {operator.add, operator.iadd, torch.add, torch.cat, torch.concat, "add", "add_"}
GATES = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
WEIGHTED = {F.conv2d, F.linear, torch.conv2d}
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
POOL_FUNCTIONS = {
    F.max_pool2d,
    F.avg_pool2d,
    F.adaptive_avg_pool2d,
    F.adaptive_max_pool2d,
    torch.max_pool2d,
}
DROPOUTS: Mapping[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout2d: nn.Dropout2d,
    F.alpha_dropout: nn.AlphaDropout,
    torch.dropout: nn.Dropout,
    torch.alpha_dropout: nn.AlphaDropout,
}
RESHAPES = {"reshape", "view", "permute", "transpose", "flatten", "contiguous", torch.permute}
PROBABILITIES = (nn.Softmax, nn.Sigmoid)
PROBABILITY_FUNCTIONS = {F.softmax, torch.softmax, torch.sigmoid, F.sigmoid, "softmax", "sigmoid"}


@dataclass(frozen=True)
class Atom:
    """What lies between two points where the data flow is a single tensor."""

    nodes: tuple[int, ...]
    """Its operations that depend on the image, by their place in the traced graph."""
    shape: tuple[int, ...]
    """Of its output for one image."""
    weighted: bool
    """Whether a convolution or a linear layer is in it."""
    join: Literal["skip", "gate"] | None
    """How several paths meet at its end: added or concatenated, or multiplied."""
    pool: bool
    """Whether it only pools."""
    bare: bool
    """Whether it has no parameters."""

    @property
    def skip(self) -> bool:
        """Whether it is a layer with a skip connection around it."""
        return self.weighted and self.join == "skip"

    @property
    def layer(self) -> bool:
        """Whether it counts as a layer; the weights of a gate (squeeze-excitation) do not."""
        return self.weighted and self.join != "gate"


class Chain:
    """The atoms of a network in the order of the data, and where its classifier begins.

    Args:
        module: a network of images (N, C, H, W).
        example: two images (2, C, H, W).
        num_classes: how many class scores a network must have to count as a classifier.

    Attributes:
        head: place of the first atom of the classifier; the number of atoms where there is none.
        starts: places at which the chain may be cut: before an atom of the features, behind the
            first layer, where no parameter is used on both sides.

    Raises:
        InputError: the network cannot be followed, or does not end in ``(N, classes)`` scores.
    """

    def __init__(self, module: nn.Module, example: Tensor, num_classes: int) -> None:
        self.module = module
        self.example = example
        self.traced: Traced = trace(module, example)
        self.atoms = _atoms(self.traced, example)
        self.head = self._head(num_classes)
        self.starts = self._starts()

    def input(self, place: int) -> fx.Node:
        """The node whose value enters atom ``place``."""
        return self.traced.nodes[self.atoms[place - 1].nodes[-1]] if place else self.traced.nodes[0]

    def output(self, place: int) -> fx.Node:
        """The node whose value leaves atom ``place``."""
        return self.traced.nodes[self.atoms[place].nodes[-1]]

    def nodes(self, place: int) -> list[fx.Node]:
        """The operations of atom ``place``."""
        return [self.traced.nodes[node] for node in self.atoms[place].nodes]

    def input_shape(self, place: int) -> tuple[int, ...]:
        """The shape of atom ``place``'s input, for one image."""
        return self.atoms[place - 1].shape if place else tuple(self.example.shape[1:])

    def shrinks(self, place: int) -> bool:
        """Whether an atom only pools or reshapes, or sends what no gradient passes."""
        atom = self.atoms[place]
        module = self.traced.module_of(self.output(place))
        idle = isinstance(module, nn.Identity) or is_black_box(module)
        return atom.pool or idle or (atom.bare and atom.shape != self.input_shape(place))

    def calls(self, place: int) -> Iterator[tuple[Call, range]]:
        """The module calls around an atom, the innermost first, each with its atoms."""
        nodes = self.atoms[place].nodes
        for call in self.traced.calls:  # inner calls end before outer ones
            if call.first <= nodes[0] and nodes[-1] < call.last:
                yield call, self.atoms_of(call)

    def atoms_of(self, call: Call) -> range:
        """The atoms that lie in a module call."""
        inside = [
            place
            for place, atom in enumerate(self.atoms)
            if call.first <= atom.nodes[0] and atom.nodes[-1] < call.last
        ]
        return range(inside[0], inside[-1] + 1) if inside else range(0)

    def layer_start(self, place: int) -> int:
        """Where the layer of a weighted atom begins: a module with this layer alone stays whole."""
        start = place
        for _, inside in self.calls(place):
            if sum(self.atoms[other].layer for other in inside) > 1:
                break
            start = min(start, inside.start)
        return start

    @cached_property
    def flops(self) -> list[int]:
        """Floating-point operations of every atom for one image, by torch's counter."""
        counts = _Counter(fx.GraphModule(self.module, self.traced.nodes[0].graph))
        with evaluating(self.module), torch.no_grad():
            counts.run(self.example, *self.traced.fixed)
        images = len(self.example)
        return [sum(counts.flops[node] for node in atom.nodes) // images for atom in self.atoms]

    @cached_property
    def memory(self) -> list[int]:
        """Bytes that every atom keeps for a backward pass, for the example's images."""
        keeps = _Keeper(fx.GraphModule(self.module, self.traced.nodes[0].graph))
        with evaluating(self.module), torch.enable_grad():
            keeps.run(self.example, *self.traced.fixed)
        return [sum(keeps.bytes[node] for node in atom.nodes) for atom in self.atoms]

    def _head(self, num_classes: int) -> int:
        kind = type(self.module).__name__
        shape = self.atoms[-1].shape if self.atoms else ()
        weighted = [place for place, atom in enumerate(self.atoms) if atom.weighted]
        if not weighted:
            raise InputError(f"{kind} has no convolution or linear layer")
        if len(shape) in (3, 4) and isinstance(self.module, nn.Sequential):
            return len(self.atoms)
        if len(shape) != 1:
            raise InputError(
                f"{kind} gives an output of shape {('N', *shape)} and is no classifier, which"
                f" gives (N, {num_classes})"
            )
        for place in range(weighted[-1], len(self.atoms)):
            node = self.output(place)
            if _is(self.traced, node, PROBABILITIES, PROBABILITY_FUNCTIONS):
                raise InputError(
                    f"{kind} ends in {node.name}: a classifier must give scores (logits), not"
                    " probabilities; leave that operation out"
                )
        if shape[0] != num_classes:
            raise InputError(f"{kind} tells {shape[0]} classes apart, but there are {num_classes}")
        # The last weights, and what stands before them from the pooling (or dropout) on.
        last = weighted[-1]
        before = weighted[-2] + 1 if len(weighted) > 1 else 0
        for place in range(before, last):
            if self.shrinks(place):  # pooled, flattened, or one token taken
                return place
        drops = before < last and isinstance(
            self.traced.module_of(self.output(last - 1)), tuple(DROPOUTS.values())
        )
        return last - 1 if drops else last

    def _starts(self) -> frozenset[int]:
        """Cuts that no parameter reaches across, each with a layer before it."""
        used: dict[int, list[int]] = {}
        for place, atom in enumerate(self.atoms):
            for parameter in _parameters(self.traced, atom.nodes):
                used.setdefault(id(parameter), []).append(place)
        bridged = {
            place for places in used.values() for place in range(places[0] + 1, places[-1] + 1)
        }
        first = next(place for place, atom in enumerate(self.atoms) if atom.weighted)
        return frozenset(set(range(first + 1, self.head)) - bridged)


def is_black_box(module: nn.Module | None) -> bool:
    """Whether a module says, by ``passes_gradients = False``, that no gradient passes it."""
    return not getattr(module, "passes_gradients", True)


class _Counter(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.flops: list[int] = []

    def run_node(self, n: fx.Node) -> Any:
        with FlopCounterMode(display=False) as counter:
            value = super().run_node(n)
        self.flops.append(counter.get_total_flops())
        return value


class _Keeper(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.bytes: list[int] = []
        own = (*module.parameters(), *module.buffers())
        self._own = {tensor.untyped_storage().data_ptr() for tensor in own}
        self._kept: dict[int, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        before = set(self._kept)
        with torch.autograd.graph.saved_tensors_hooks(self._note, lambda saved: saved):
            value = super().run_node(n)
        fresh = [saved for key, saved in self._kept.items() if key not in before]
        self.bytes.append(sum(saved.untyped_storage().nbytes() for saved in fresh))
        return value

    def _note(self, saved: Tensor) -> Tensor:
        key = saved.untyped_storage().data_ptr()
        if key not in self._own:
            self._kept[key] = saved.detach()  # alive, so that its place in memory is its own
        return saved


def _atoms(traced: Traced, example: Tensor) -> list[Atom]:
    places = {node: place for place, node in enumerate(traced.nodes)}
    flows = {0}
    """Nodes that depend on the image."""
    last_use = dict.fromkeys(range(len(traced.nodes)), 0)
    for place, node in enumerate(traced.nodes):
        needs = [places[given] for given in node.all_input_nodes]
        if flows.intersection(needs):
            flows.add(place)
            for given in flows.intersection(needs):
                last_use[given] = place
    images = len(example)
    atoms = []
    since: list[int] = []
    reach = last_use[0]
    """The last use of anything made so far, but for the latest node."""
    for place in sorted(flows)[1:]:
        node = traced.nodes[place]
        if node.op == "output":
            break
        since.append(place)
        shape = traced.values[place]
        # Two images went in: a value of one row is no batch.
        if reach <= place and shape is not None and shape[:1] == (images,):
            atoms.append(_atom(traced, tuple(since), shape[1:], flows, places))
            since = []
        reach = max(reach, last_use[place])
    return atoms


def _atom(
    traced: Traced,
    nodes: tuple[int, ...],
    shape: tuple[int, ...],
    flows: set[int],
    places: dict[fx.Node, int],
) -> Atom:
    members = [traced.nodes[place] for place in nodes]
    end = joined = members[-1]

    def tensors(node: fx.Node) -> list[fx.Node]:
        flow = (given for given in node.all_input_nodes if places[given] in flows)
        return [given for given in flow if traced.values[places[given]] is not None]

    while joined.target in RESHAPES and joined in members[1:]:
        joined = tensors(joined)[0]
    join: Literal["skip", "gate"] | None = None
    if len(tensors(joined)) > 1:
        join = "gate" if joined.target in GATES else "skip" if joined.target in SKIPS else None
    weighted = any(
        node.target in WEIGHTED
        or any(p.dim() > 1 for p in getattr(traced.module_of(node), "parameters", tuple)())
        for node in members
    )
    pool = len(members) == 1 and _is(traced, end, POOLS, POOL_FUNCTIONS)
    bare = not any(True for _ in _parameters(traced, nodes))
    return Atom(nodes, shape, weighted, join, pool, bare)


def _is(
    traced: Traced, node: fx.Node, kinds: tuple[type[nn.Module], ...], functions: set[Any]
) -> bool:
    """Whether a node calls a module of these kinds, or one of these functions."""
    return isinstance(traced.module_of(node), kinds) or node.target in functions


def _parameters(traced: Traced, nodes: tuple[int, ...]) -> Iterator[nn.Parameter]:
    """The parameters that these operations use."""
    for place in nodes:
        node = traced.nodes[place]
        module = traced.module_of(node)
        if module is not None:
            yield from module.parameters()
        for given in node.all_input_nodes:
            if given.op == "get_attr":
                value = operator.attrgetter(str(given.target))(traced.module)
                if isinstance(value, nn.Parameter):
                    yield value
