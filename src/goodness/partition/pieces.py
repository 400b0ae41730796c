"""The pieces of a chain as modules that hold the network's own parameters under their own names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.operator_schemas import normalize_function

from goodness.errors import InputError, reason
from goodness.modes import evaluating
from goodness.partition.base import PARTITIONS
from goodness.partition.chain import DROPOUTS, Chain
from goodness.partition.tracing import MODED, Call
from goodness.partition.view import View, view_of
from goodness.types import Shape


class Section(NamedTuple):
    """Some layers of a body, for heads that copy them; one after another they are the body."""

    layers: nn.Module
    """They hold the network's own parameters, under the names that these have in the body."""
    input: View
    """From the value that they take, the whole of it, to a map."""
    output: View
    """From the value that they give."""
    shape: Shape
    """(C, H, W) of the map that they take."""


class Piece(NamedTuple):
    """One block of the network before it gets its objective and boundary."""

    name: str
    """Where it begins in the network."""
    body: nn.Module
    """Up to the last operation that does not only pool; its value is the features."""
    tail: nn.Module
    """Parameter-free pooling and flattening behind it, which belong to the output."""
    features: View
    """From the body's value to a map of features."""
    output: View
    """From the output to a map."""
    sections: tuple[Section, ...] = ()
    """The body in its smallest parts, where these were asked for: residual blocks, or layers."""


def split(
    module: nn.Module,
    example: Tensor,
    num_classes: int,
    partition: Mapping[str, Any],
    sections: bool = False,
) -> tuple[list[Piece], nn.Module | None]:
    """Cut a network into blocks; one after another they compute what it does, bit for bit.

    The pieces share the network's modules, and keep their names in ``state_dict``.

    Args:
        module: a network of images (N, C, H, W).
        example: two images (2, C, H, W).
        num_classes: number of classes.
        partition: a rule of `PARTITIONS` with its options.
        sections: whether the pieces are to have theirs.

    Returns:
        The blocks, and the network's own classifier; None for a chain that ends in a map.

    Raises:
        InputError: a network that cannot be cut.
    """
    chain = Chain(module, example, num_classes)
    starts = PARTITIONS.make(partition, chain) & chain.starts
    bounds = [0, *sorted(starts), chain.head]
    finer = _section_starts(chain) if sections else None
    pieces = [_piece(chain, first, stop, finer) for first, stop in pairwise(bounds)]
    if chain.head == len(chain.atoms):
        return pieces, None
    return pieces, _assemble(chain, chain.head, len(chain.atoms))


def split_by_hand(
    parts: Sequence[nn.Module], example: Tensor, num_classes: int
) -> tuple[list[Piece], nn.Module]:
    """Blocks that the caller has cut; the last part is the classifier.

    Raises:
        InputError: fewer than two parts, or parts that do not fit together.
    """
    check_parts(parts)
    *bodies, head = parts
    pieces = []
    x = example
    view = View()
    for place, body in enumerate(bodies):
        before, given = view.whole(), x
        x = _run(body, x, f"blocks: number {place + 1}")
        if not 2 <= x.dim() <= 4 or len(x) != len(example):
            raise InputError(
                f"blocks: number {place + 1} gives a tensor {tuple(x.shape)} for"
                f" {len(example)} images; maps (N, C, H, W), tokens (N, T, D) or units (N, D) are"
                " needed"
            )
        view = view_of(tuple(x.shape[1:]), channels_last=False)
        layers = _numbered(place, body)
        whole = Section(layers, before, view.whole(), _map_shape(before, tuple(given.shape[1:])))
        pieces.append(Piece(f"block{place + 1}", layers, nn.Sequential(), view, view, (whole,)))
    scores = _run(head, x, "blocks: the classifier")
    if scores.shape != (len(example), num_classes):
        raise InputError(
            f"blocks: the last part is to be the classifier, which gives scores (N,"
            f" {num_classes}), but gives {('N', *scores.shape[1:])}"
        )
    return pieces, _numbered(len(bodies), head)


def check_parts(parts: Sequence[nn.Module]) -> None:
    """Refuse what are no blocks with a classifier behind them.

    Raises:
        InputError: fewer than two parts, or one that is no module.
    """
    for part in parts:
        if not isinstance(part, nn.Module):
            raise InputError(f"blocks: every part is to be a module, not a {type(part).__name__}")
    if len(parts) < 2:
        raise InputError("blocks: at least one block and the classifier are needed")


@torch.no_grad()
def _run(part: nn.Module, x: Tensor, name: str) -> Tensor:
    """A part's output for two images, in evaluation mode."""
    try:
        with evaluating(part):
            out = part(x)
    except Exception as error:  # whatever the user's own code raises
        raise InputError(
            f"{name} cannot take what comes, {tuple(x.shape)}: {reason(error)}"
        ) from None
    if not isinstance(out, Tensor):
        raise InputError(f"{name} gives a {type(out).__name__}; one tensor is needed")
    return out


def _numbered(place: int, part: nn.Module) -> nn.Sequential:
    """Names in ``state_dict`` as those of an `nn.Sequential` of all parts."""
    return nn.Sequential(OrderedDict({str(place): part}))


def _piece(chain: Chain, first: int, stop: int, finer: Sequence[frozenset[int]] | None) -> Piece:
    """The atoms ``first`` to ``stop - 1``; ``finer``: where sections may begin, by rule."""
    end = stop
    while end - 1 > first and chain.shrinks(end - 1) and _free(chain, end - 1):
        end -= 1
    if not any(chain.atoms[place].weighted for place in range(first, end)):
        end = stop
    return Piece(
        _name(chain, first, stop),
        _layers(chain, first, end),
        _assemble(chain, end, stop),
        _view(chain, end - 1),
        _view(chain, stop - 1),
        () if finer is None else tuple(_sections(chain, first, end, finer)),
    )


def _layers(chain: Chain, first: int, stop: int) -> nn.Module:
    """The atoms ``first`` to ``stop - 1``, which leave what comes in as it is."""
    layers = _assemble(chain, first, stop)
    if _overwrites(layers, chain.input_shape(first)):
        layers = _assemble(chain, first, stop, copies=True)
    return layers


def _section_starts(chain: Chain) -> list[frozenset[int]]:
    """Where sections may begin: residual blocks and resolutions, or else layers."""
    rules = (PARTITIONS[name](chain) for name in ("block", "layer"))
    return [frozenset(starts & chain.starts) for starts in rules]


def _sections(
    chain: Chain, first: int, stop: int, finer: Sequence[frozenset[int]]
) -> Iterator[Section]:
    cuts: list[int] = []
    for starts in finer:
        cuts = cuts or sorted(place for place in starts if first < place < stop)
    for begin, end in pairwise([first, *cuts, stop]):
        taken = _view(chain, begin - 1).whole() if begin else View()
        yield Section(
            _layers(chain, begin, end),
            taken,
            _view(chain, end - 1).whole(),
            _map_shape(taken, chain.input_shape(begin)),
        )


def _map_shape(view: View, shape: tuple[int, ...]) -> Shape:
    """(C, H, W) of a value of this shape as a map."""
    _, channels, height, width = view.spread(torch.empty(1, *shape, device="meta")).shape
    return channels, height, width


def _overwrites(body: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a module changes its input in place, which is the output of the block before."""
    x = torch.zeros(1, *shape)
    with evaluating(body), torch.no_grad():
        body(x)
    return x._version > 0


def _free(chain: Chain, place: int) -> bool:
    """Whether an atom may be taken out of the modules around it without splitting their code."""
    return all(
        not call.path or call.is_container or all(map(chain.shrinks, inside))
        for call, inside in chain.calls(place)
    )


def _name(chain: Chain, first: int, stop: int) -> str:
    """The outermost module within a stretch that begins it, or the first one called.

    What stands before the network's first layer with weights, such as a whitening, gives no name.
    """
    first = next((p for p in range(first, stop) if first or chain.atoms[p].weighted), first)
    begins = [
        call.path
        for call, atoms in chain.calls(first)
        if call.path and atoms.start == first and atoms.stop <= stop
    ]
    called = [
        str(node.target)
        for place in range(first, stop)
        for node in chain.nodes(place)
        if node.op == "call_module"
    ]
    return next(iter([*begins[::-1], *called]), chain.output(first).name)


def _view(chain: Chain, place: int) -> View:
    """Channels stand last where a layer norm or a linear layer works on the last dimension."""
    shape = chain.atoms[place].shape
    around = map(chain.traced.module_of, [*chain.nodes(place), *chain.output(place).users])
    widths = [
        module.normalized_shape[-1] if isinstance(module, nn.LayerNorm) else module.in_features
        for module in around
        # Subclasses of nn.LayerNorm work on channels that stand first.
        if type(module) is nn.LayerNorm or isinstance(module, nn.Linear)
    ]
    return view_of(
        shape, channels_last=len(shape) == 3 and shape[-1] in widths and shape[0] != shape[-1]
    )


def _assemble(chain: Chain, first: int, stop: int, copies: bool = False) -> nn.Module:
    """The atoms ``first`` to ``stop - 1`` as a module.

    Submodules that lie within are called as they are, so that their own code runs in training.

    Args:
        chain: the network.
        first: the first atom.
        stop: the one behind the last.
        copies: whether to work on a copy of what comes in.
    """
    if first == stop:
        return nn.Sequential()
    given, wanted = chain.input(first), chain.output(stop - 1)
    calls = _whole_calls(chain, first, stop)
    places = {node: place for place, node in enumerate(chain.traced.nodes)}
    needed: set[int] = set()
    stack = [places[wanted]]
    while stack:
        place = stack.pop()
        if place in needed or place == places[given]:
            continue
        needed.add(place)
        node = chain.traced.nodes[place]
        inputs = _inputs(calls[node]) if node in calls else node.all_input_nodes
        stack += [places[other] for other in inputs]
    order = [chain.traced.nodes[place] for place in sorted(needed)]
    plain = _plain_chain(order, calls, given)
    if plain is not None and not copies:
        return plain
    graph = fx.Graph()
    x = graph.placeholder("x")
    env = {given: graph.call_method("clone", (x,)) if copies else x}
    for node in order:
        if node in calls:
            call = calls[node]
            args = fx.node.map_arg((call.args, call.kwargs), env.__getitem__)
            env[node] = graph.call_module(call.path, *args)
        else:
            env[node] = graph.node_copy(node, env.__getitem__)
    graph.output(env[wanted])
    return _finished(chain.module, graph)


def _whole_calls(chain: Chain, first: int, stop: int) -> dict[fx.Node, Call]:
    """The outermost module calls within a stretch, by their output."""
    low = chain.atoms[first].nodes[0]
    high = chain.atoms[stop - 1].nodes[-1]
    whole: dict[fx.Node, Call] = {}
    for call in chain.traced.calls:  # inner ones end first, and are replaced by outer ones
        made_inside = call.output in chain.traced.nodes[call.first : call.last]
        if call.path and made_inside and low <= call.first and call.last <= high + 1:
            assert call.output is not None
            whole[call.output] = call
    return whole


def _inputs(call: Call) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.node.map_arg((call.args, call.kwargs), found.append)
    return found


def _plain_chain(
    order: list[fx.Node], calls: Mapping[fx.Node, Call], given: fx.Node
) -> nn.Sequential | None:
    """An `nn.Sequential`, where one child of the network follows the other."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    previous = given
    for node in order:
        call = calls.get(node)
        if call is None or call.args != (previous,) or call.kwargs or "." in call.path:
            return None
        if call.path in layers:
            return None
        layers[call.path] = call.module
        previous = node
    return nn.Sequential(layers)


def _finished(root: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    module = fx.GraphModule(root, graph, class_name="Piece")
    for node in list(graph.nodes):
        if MODED not in node.meta:
            continue
        if node.target in DROPOUTS:
            given = normalize_function(
                node.target, node.args, node.kwargs, normalize_to_only_use_kwargs=True
            )
            assert given is not None
            name = f"_{node.name}"
            module.add_submodule(name, DROPOUTS[node.target](given.kwargs["p"]))
            with graph.inserting_after(node):
                new = graph.call_module(name, (given.kwargs["input"],))
            node.replace_all_uses_with(new)
            graph.erase_node(node)
        else:
            raise InputError(
                f"{type(root).__name__}: '{node.name}' depends on the mode in the network's own"
                " forward; make it a submodule"
            )
    buffers = dict(root.named_buffers())
    kept = {name for name in root.state_dict() if name in buffers}
    for name, _ in list(module.named_buffers()):
        if name not in kept:
            parent, _, leaf = name.rpartition(".")
            module.get_submodule(parent)._non_persistent_buffers_set.add(leaf)
    module.recompile()
    return module
