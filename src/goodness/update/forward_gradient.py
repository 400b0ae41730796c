"""Forward gradient by activity perturbation (Ren et al., ICLR 2023, arXiv 2210.03310)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.hooks import RemovableHandle

from goodness.errors import InputError
from goodness.update.base import UPDATES
from goodness.update.sites import AtSites, Site, pooled, pull_back, spread

if TYPE_CHECKING:
    from goodness.network.block import Block


@UPDATES.register("forward-gradient")
class ForwardGradient(AtSites):
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

    def __init__(self) -> None:
        super().__init__()
        self._blocks: Sequence[Block] = ()
        self._perturbed: list[Site] = []
        self._slope = torch.empty(0)

    @contextmanager
    def recording(self, blocks: Sequence[Block]) -> Iterator[None]:
        """Hooks that add noise to the tangent behind every layer of the blocks."""
        _quiet_import()
        self._blocks = blocks
        try:
            # Of the kinds of attention this one alone has a forward-mode derivative.
            with (
                self.watching(blocks) as self._perturbed,
                sdpa_kernel(SDPBackend.MATH),
                forward_ad.dual_level(),
            ):
                yield
        except NotImplementedError as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"update 'forward-gradient': {reason}") from None

    def enter(self, site: Site, rectified: bool) -> list[RemovableHandle]:
        """Hooks that note what the layer sees and gives, and add noise to the tangent behind it, if
        a ReLU follows only where that is open."""

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
        slope = pooled(slope, sites, self._blocks)
        for site in sites:
            assert site.noise is not None
            pull_back(site, site.noise * spread(slope, site.noise) / rows.numel())
        self._blocks, self._perturbed, self._slope = (), [], torch.empty(0)


def _quiet_import() -> None:
    """What torch imports at the first dual tensor warns of its own deprecated parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("torch._decomp.decompositions_for_jvp")
