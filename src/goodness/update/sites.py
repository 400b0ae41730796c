"""Where noise enters a block: behind its weight layers, whose gradients are local from there on."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from goodness.modes import kept_buffers
from goodness.seeds import kept_generators
from goodness.update.base import Update

if TYPE_CHECKING:
    from goodness.network.block import Block

WEIGHT_LAYERS = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, nn.LayerNorm)


@dataclass(eq=False)
class Site:
    """Where noise enters: behind a weight layer, and behind its norm if that follows at once."""

    layer: nn.Conv2d | nn.Linear
    norm: nn.Module | None
    given: Tensor | None = None
    """The layer's input at this step."""
    z: Tensor | None = None
    """The layer's output."""
    noise: Tensor | None = None

    @property
    def last(self) -> nn.Module:
        """The module whose output is perturbed."""
        return self.layer if self.norm is None else self.norm


class AtSites(Update):
    """An update that perturbs what stands behind weight layers, and pulls its estimate back there.

    Parameters outside weight layers and their norms stay as drawn.
    """

    records_body = False

    def __init__(self) -> None:
        self._apart: set[nn.Module] = set()
        """Layers whose norm does not follow at once, though it stands behind them."""
        self._seen: set[nn.Module] = set()
        """Blocks of which this is known."""

    def parameters(self, block: Block) -> list[nn.Parameter]:
        """The weight layers', their norms' and the head's."""
        modules = [m for s in self._sites(block) for m in (s.layer, s.norm) if m is not None]
        own = [p for module in modules for p in module.parameters()]
        return own + ([] if block.objective is None else list(block.objective.parameters()))

    def enter(self, site: Site, rectified: bool) -> list[RemovableHandle]:
        """Put hooks on a site, before the forward.

        Args:
            site: to note in what the layer is given and gives, for `pull_back`.
            rectified: whether a ReLU follows at once, where nothing else sees what it is given.
        """
        raise NotImplementedError

    @contextmanager
    def watching(self, blocks: Sequence[Block]) -> Iterator[list[Site]]:
        """Hooks on every site of the blocks, which is in the list once its block has run."""
        sites: list[Site] = []
        hooks: list[RemovableHandle] = []
        entered: set[nn.Module] = set()

        def entering(block: Block) -> RemovableHandle:
            def enter(body: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                if body in entered:
                    return
                entered.add(body)
                if block not in self._seen:
                    self._seen.add(block)
                    self._find_apart(block, inputs[0])
                rectified = set(_rectified(body))
                for site in self._sites(block):
                    hooks.extend(self.enter(site, site.last in rectified))
                    sites.append(site)

            return block.body.register_forward_pre_hook(enter)

        hooks.extend(entering(block) for block in blocks)
        try:
            yield sites
        finally:
            for hook in hooks:
                hook.remove()

    def _find_apart(self, block: Block, x: Tensor) -> None:
        """Find out whose norm does not get what the layer gives, on a copy that nobody watches."""
        watched = [(m, m._forward_hooks, m._forward_pre_hooks) for m in block.body.modules()]
        for module, _, _ in watched:  # hooks may hold what cannot be copied
            module._forward_hooks, module._forward_pre_hooks = OrderedDict(), OrderedDict()
        try:
            body = copy.deepcopy(block.body).eval()
        finally:
            for module, hooks, pre_hooks in watched:
                module._forward_hooks, module._forward_pre_hooks = hooks, pre_hooks
        original = dict(zip(body.modules(), block.body.modules(), strict=True))
        copies = {module: own for own, module in original.items()}
        outputs: dict[nn.Module, Tensor] = {}

        def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[original[layer]] = output

        def compare(layer: nn.Module) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                if inputs[0] is not outputs.get(layer):
                    self._apart.add(layer)

            return hook

        for site in self._sites(block):
            if site.norm is not None:
                copies[site.layer].register_forward_hook(note)
                copies[site.norm].register_forward_pre_hook(compare(site.layer))
        with kept_generators(x.device):
            body(forward_ad.unpack_dual(x).primal)

    def _sites(self, block: Block) -> list[Site]:
        """In the order of the layers."""
        found: list[Site] = []
        previous: nn.Module | None = None
        for module in block.body.modules():
            if next(module.children(), None) is not None:
                continue
            if isinstance(module, WEIGHT_LAYERS):
                found.append(Site(module, None))
            elif isinstance(module, NORMS) and found and previous is found[-1].layer:
                found[-1].norm = None if previous in self._apart else module
            previous = module
        return found


def _rectified(body: nn.Module) -> list[nn.Module]:
    """Modules that a ReLU follows in a chain, where nothing else can see what they give."""
    return [
        first
        for chain in body.modules()
        if type(chain) is nn.Sequential
        for first, second in pairwise(chain)
        if type(second) is nn.ReLU
    ]


def pooled(slope: Tensor, sites: Sequence[Site], blocks: Sequence[Block]) -> Tensor:
    """Derivatives of just those losses that the noise may have moved."""
    paired = {site.norm for site in sites}
    behind = [m for b in blocks for m in b.modules() if isinstance(m, NORMS) and m not in paired]
    batched = any(isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) for norm in behind)
    if batched or any(b.objective is not None and b.objective.coupled for b in blocks):
        return slope.sum().expand(len(slope))
    if slope.dim() == 1:
        return slope
    noise = sites[0].noise
    assert noise is not None
    # Of a linear layer on maps or tokens the channels are the last dimension.
    divides = isinstance(sites[0].layer, nn.Conv2d) and all(
        size % part == 0 for size, part in zip(noise.shape[2:], slope.shape[2:], strict=True)
    )
    if len(sites) > 1 or behind or not divides:
        return slope.flatten(1).sum(1)
    return slope


def spread(slope: Tensor, z: Tensor) -> Tensor:
    """Derivatives per row, or per (row, channel group, patch row, patch column), over z's shape."""
    if slope.dim() == 1:
        return slope.reshape(-1, *(1,) * (z.dim() - 1))
    slope = slope.repeat_interleave(z.shape[1] // slope.shape[1], dim=1)
    return F.interpolate(slope, size=z.shape[2:], mode="nearest")


def pull_back(site: Site, gradient: Tensor) -> None:
    """Weight gradients from the gradient behind a layer and its norm."""
    assert site.given is not None
    assert site.z is not None
    given, gradient = site.given.float(), gradient.float()
    if site.norm is not None:
        gradient = _through_norm(site.norm, site.z.float(), gradient)
    parameters = _learning(site.layer)
    if not parameters:
        return
    # By the layer's own forward, as it may pad, or treat its weight, in a way of its own; hooks
    # have seen the batch already.
    with torch.enable_grad():
        own = torch.autograd.grad(site.layer.forward(given), parameters, gradient)
    for parameter, value in zip(parameters, own, strict=True):
        # Laid out as the parameter is: fused optimizers walk through memory.
        parameter.grad = torch.empty_like(parameter).copy_(value)


def _through_norm(norm: nn.Module, z: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in front of a norm; fills that of its parameters."""
    parameters = _learning(norm)
    # The batch has been counted already.
    with kept_buffers(norm), torch.enable_grad():
        leaf = z.detach().requires_grad_()
        before, *own = torch.autograd.grad(norm(leaf), [leaf, *parameters], gradient)
    for parameter, value in zip(parameters, own, strict=True):
        parameter.grad = value
    return before


def _learning(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
