"""Forward gradient by activity perturbation (Ren et al., ICLR 2023, arXiv 2210.03310)."""

from __future__ import annotations

import copy
import importlib
import warnings
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
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.hooks import RemovableHandle

from goodness.errors import InputError
from goodness.modes import kept_buffers
from goodness.seeds import kept_generators
from goodness.update.base import UPDATES, Update

if TYPE_CHECKING:
    from goodness.network.block import Block

WEIGHT_LAYERS = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, nn.LayerNorm)


@dataclass
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


@UPDATES.register("forward-gradient")
class ForwardGradient(Update):
    """No reverse mode through a block: random directions and forward-mode derivatives.

    Independent noise v ~ N(0, 1) enters as the tangent of every pre-activation: behind each weight
    layer and its norm. One forward-mode pass gives d, each loss's derivative along the noise; d * v
    is an unbiased estimate of the gradient there. Where a ReLU follows at once and is closed, the
    gradient is known to be 0, and no noise enters. The estimate is pulled back through the norm
    alone, then to the layer's own weights. The head's gradient is exact.

    A loss that belongs to one patch and channel group tells of the noise there alone. That holds
    in blocks of one weight layer whose map divides into the patches; elsewhere all losses of a
    row count together, and all rows where a batch norm or the objective couples them: unbiased
    too, but noisier. Parameters outside weight layers and their norms stay as drawn.
    """

    records_body = False

    def __init__(self) -> None:
        self._apart: set[nn.Module] = set()
        """Layers whose norm does not follow at once, though it stands behind them."""
        self._seen: set[nn.Module] = set()
        """Blocks of which this is known."""
        self._blocks: Sequence[Block] = ()
        self._perturbed: list[Site] = []
        self._slope = torch.empty(0)

    def parameters(self, block: Block) -> list[nn.Parameter]:
        """The weight layers', their norms' and the head's."""
        modules = [m for s in self._sites(block) for m in (s.layer, s.norm) if m is not None]
        own = [p for module in modules for p in module.parameters()]
        return own + ([] if block.objective is None else list(block.objective.parameters()))

    @contextmanager
    def recording(self, blocks: Sequence[Block]) -> Iterator[None]:
        """Hooks that add noise to the tangent behind every layer of the blocks."""
        _quiet_import()
        self._blocks, self._perturbed = blocks, []
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
                    hooks.extend(_perturb(site, site.last in rectified))
                    self._perturbed.append(site)

            return block.body.register_forward_pre_hook(enter)

        hooks.extend(entering(block) for block in blocks)
        try:
            # Of the kinds of attention this one alone has a forward-mode derivative.
            with sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
                yield
        except NotImplementedError as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"update 'forward-gradient': {reason}") from None
        finally:
            for hook in hooks:
                hook.remove()

    def recorded(self, rows: Tensor) -> Tensor:
        """The losses, whose derivatives along the noise are noted."""
        primal, slope = forward_ad.unpack_dual(rows)
        if slope is None:
            raise InputError("update 'forward-gradient': the loss ignores the features")
        self._slope = slope.detach()
        return primal

    def backward(self, rows: Tensor, factor: Tensor | None) -> None:
        """From the derivatives along the noise to the layers' weights."""
        slope = self._slope
        if factor is not None:
            rows, slope = rows * factor, slope * factor
        # The head's gradient is analytic: its graph starts at the detached features.
        if rows.requires_grad:
            rows.mean().backward()
        # A layer may be used without being called, as inside torch's attention.
        sites = [site for site in self._perturbed if site.noise is not None]
        slope = _pooled(slope, sites, self._blocks)
        for site in sites:
            assert site.noise is not None
            _pull_back(site, site.noise * _spread(slope, site.noise) / rows.numel())
        self._blocks, self._perturbed, self._slope = (), [], torch.empty(0)

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


def _perturb(site: Site, rectified: bool) -> list[RemovableHandle]:
    """Hooks that note what the layer sees and gives, and add noise to the tangent behind it, if a
    ReLU follows only where that is open."""

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        site.given = forward_ad.unpack_dual(inputs[0]).primal
        site.z = forward_ad.unpack_dual(output).primal

    def perturb(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        primal, tangent = forward_ad.unpack_dual(output)
        site.noise = torch.randn_like(primal)
        if rectified:
            site.noise *= primal > 0
        # A copy: activations that work in place would change the tangent.
        return forward_ad.make_dual(
            primal, site.noise.clone() if tangent is None else tangent + site.noise
        )

    return [site.layer.register_forward_hook(note), site.last.register_forward_hook(perturb)]


def _pooled(slope: Tensor, sites: Sequence[Site], blocks: Sequence[Block]) -> Tensor:
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


def _spread(slope: Tensor, z: Tensor) -> Tensor:
    """Derivatives per row, or per (row, channel group, patch row, patch column), over z's shape."""
    if slope.dim() == 1:
        return slope.reshape(-1, *(1,) * (z.dim() - 1))
    slope = slope.repeat_interleave(z.shape[1] // slope.shape[1], dim=1)
    return F.interpolate(slope, size=z.shape[2:], mode="nearest")


def _pull_back(site: Site, gradient: Tensor) -> None:
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


def _quiet_import() -> None:
    """What torch imports at the first dual tensor warns of its own deprecated parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("torch._decomp.decompositions_for_jvp")
