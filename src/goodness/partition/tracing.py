"""A network as a graph of operations, by torch.fx, with the module calls that made them."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils import _pytree as pytree

from goodness.errors import InputError, reason
from goodness.modes import evaluating

TORCH = Path(torch.__file__).parent
MODED = "moded"
"""In the ``meta`` of graph nodes with the ``training`` of a module as an argument."""
BY_HAND = "pass the parts yourself: localize([block1, block2, ..., head], ...)"


@dataclass(frozen=True)
class Call:
    """One call of a submodule while the network was traced."""

    path: str
    module: nn.Module
    first: int
    """Number of graph nodes before the call."""
    last: int
    """Number of graph nodes after it."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: fx.Node | None
    """None where it did not return a single value."""

    @property
    def is_container(self) -> bool:
        """Whether it only calls its children one after another."""
        return type(self.module).forward is nn.Sequential.forward


@dataclass(frozen=True)
class Traced:
    """What `trace` found; node ``i`` made ``values[i]``."""

    module: nn.Module
    nodes: tuple[fx.Node, ...]
    calls: tuple[Call, ...]
    values: tuple[tuple[int, ...] | None, ...]
    """The shape of every node's value for the example, None for what is no tensor."""
    fixed: tuple[Any, ...]
    """The graph's inputs beside the image: the defaults of ``forward``'s other arguments."""

    def module_of(self, node: fx.Node) -> nn.Module | None:
        """The submodule that a node calls; None for a function."""
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None


class _Tracer(fx.Tracer):
    """Traces every module but those without children, norms, and those that it cannot trace.

    A module's ``training`` is a symbol meanwhile: a submodule that branches on it cannot be traced,
    and operations with it as an argument are marked, instead of being fixed in one mode.

    Args:
        opaque: paths of the modules that stay one operation.
        training: the mode with which the network's own ``forward`` branches.
    """

    def __init__(self, opaque: set[str], training: bool = False) -> None:
        super().__init__()
        self.opaque = opaque
        self.training = training
        self.branch = ""
        """Where the network's own ``forward`` branched on its mode."""
        self.depth = 0
        self.calls: list[Call] = []
        self.failed: str | None = None
        self.mode: fx.Node

    def trace(
        self, root: nn.Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
    ) -> fx.Graph:
        assert isinstance(root, nn.Module)
        with evaluating(root):
            graph = super().trace(root, concrete_args)
        for node in list(self.mode.users):
            node.args, node.kwargs = fx.node.map_arg(
                (node.args, node.kwargs), lambda given: False if given is self.mode else given
            )
            node.meta[MODED] = True
        return graph

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> Any:
        # The graph is there by now. The symbol is no part of it: it has no place in the data flow.
        self.mode = fx.Node(self.graph, "training", "placeholder", "training", (), {})
        for part in self.root.modules():
            part.training = fx.Proxy(self.mode, self)  # type: ignore[assignment]
        return super().create_args_for_root(*args, **kwargs)

    def to_bool(self, obj: fx.Proxy) -> bool:
        if obj.node is not self.mode:
            return super().to_bool(obj)
        if self.depth:
            raise fx.proxy.TraceError("it branches on its mode")
        self.branch = _line_of(traceback.extract_stack())
        return self.training

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        # A module of torch.nn with children is a container, or attention, which fx cannot read.
        container = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        of_torch = type(module).__module__.startswith("torch.nn") and not container
        childless = next(module.children(), None) is None
        return path in self.opaque or childless or of_torch or isinstance(module, _NormBase)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        path = self.path_of_module(m)
        first = len(self.graph.nodes)
        given = fx.node.map_aggregate((args, kwargs), _node_of)
        if self.mode in pytree.tree_leaves(given):
            raise fx.proxy.TraceError(f"'{path}' is told the mode")
        self.depth += 1
        try:
            out = super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or path  # the innermost
            raise
        finally:
            self.depth -= 1
        output = out.node if isinstance(out, fx.Proxy) else None
        self.calls.append(Call(path, m, first, len(self.graph.nodes), *given, output))
        return out


def trace(module: nn.Module, example: Tensor) -> Traced:
    """Follow one tensor through a network in evaluation mode.

    A submodule that torch.fx cannot trace is one operation.

    Args:
        module: of one tensor.
        example: such a tensor.

    Raises:
        InputError: more than one input, a ``forward`` that cannot be followed, or an example that
            the network fails on.
    """
    fixed = _fixed_arguments(module)
    with evaluating(module):
        tracer, graph = _read(module, fixed)
        values = _shapes(module, graph, (example, *fixed.values()))
    return Traced(module, tuple(graph.nodes), tuple(tracer.calls), values, tuple(fixed.values()))


def _fixed_arguments(module: nn.Module) -> dict[str, Any]:
    """The arguments of ``forward`` that have a default, which they keep."""
    parameters = [
        p
        for p in inspect.signature(module.forward).parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    needed = [p.name for p in parameters if p.default is p.empty]
    if len(needed) > 1:
        raise InputError(
            f"{type(module).__name__} takes {len(needed)} inputs ({', '.join(needed)}); blocks"
            " can be cut only where one image goes in (wrap it in a module that takes one, or"
            f" {BY_HAND})"
        )
    return {
        p.name: p.default for p in parameters if p.default is not p.empty and p.name not in needed
    }


def _read(module: nn.Module, fixed: dict[str, Any]) -> tuple[_Tracer, fx.Graph]:
    opaque: set[str] = set()
    while True:
        tracer = _Tracer(opaque)
        try:
            graph = tracer.trace(module, concrete_args=fixed or None)
            if tracer.branch:
                learning = _Tracer(opaque, training=True).trace(module, concrete_args=fixed or None)
                if _operations(learning) != _operations(graph):
                    break
            return tracer, graph
        except Exception as error:
            # The network's own forward failed, or a submodule that has been given up already.
            if tracer.failed is None or tracer.failed in opaque:
                raise InputError(
                    f"{type(module).__name__} cannot be followed by torch.fx"
                    f"{_line_of(traceback.extract_tb(error.__traceback__))}:"
                    f" {reason(error)}; {BY_HAND}"
                ) from None
            opaque.add(tracer.failed)
    raise InputError(
        f"{type(module).__name__} cannot be followed by torch.fx{tracer.branch}: it does something"
        f" else in training (a submodule may); {BY_HAND}"
    )


def _operations(graph: fx.Graph) -> list[tuple[str, ...]]:
    """What a graph does; equal where two do the same."""
    return [(n.op, str(n.target), str(n.args), str(n.kwargs)) for n in graph.nodes]


def _line_of(stack: traceback.StackSummary) -> str:
    """The innermost line of the user's own code."""
    frames = [
        frame
        for frame in stack
        if not Path(frame.filename).is_relative_to(TORCH) and frame.filename != __file__
    ]
    if not frames:
        return ""
    frame = frames[-1]
    return f" at {Path(frame.filename).name}:{frame.lineno} ('{frame.line}')"


def _node_of(value: Any) -> Any:
    return value.node if isinstance(value, fx.Proxy) else value


class _Shapes(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: list[tuple[int, ...] | None] = []

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.shapes.append(tuple(value.shape) if isinstance(value, Tensor) else None)
        return value


@torch.no_grad()
def _shapes(
    module: nn.Module, graph: fx.Graph, inputs: tuple[Any, ...]
) -> tuple[tuple[int, ...] | None, ...]:
    interpreter = _Shapes(fx.GraphModule(module, graph))
    try:
        interpreter.run(*inputs)
    except Exception as error:  # whatever the network raises for such an image
        shape = "x".join(map(str, inputs[0].shape[1:]))
        raise InputError(
            f"{type(module).__name__} cannot serve an image of {shape}: {reason(error)}"
        ) from None
    return tuple(interpreter.shapes)
