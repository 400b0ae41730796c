"""Activations perturbed in both directions at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from goodness.errors import InputError
from goodness.types import Positive, PositiveInt
from goodness.update.base import UPDATES
from goodness.update.sites import AtSites, Site, pooled, pull_back, spread

if TYPE_CHECKING:
    from goodness.network.block import Block


@UPDATES.register("node-perturbation")
class NodePerturbation(AtSites):
    """No derivative behind a weight layer: the losses with its outputs moved a little, both ways.

    As `ForwardGradient`, with finite differences in place of forward-mode derivatives, so that what
    follows the layer may be any function of tensors: with noise v ~ N(0, 1) at every pre-activation
    of every row, ``(l(z + sigma v) - l(z - sigma v)) / (2 sigma) v`` is the gradient there on
    average, up to sigma squared, and is pulled back to the layer's own weights. Rows are estimated
    apart, where nothing couples them; so it needs far fewer samples than `WeightPerturbation`. The
    head learns from its exact gradient.

    Args:
        samples: noise is drawn so many times a step; each takes two forward passes.
        sigma: standard deviation of what is added.
    """

    differentiates = False
    evaluates = True

    def __init__(self, *, samples: PositiveInt = 1, sigma: Positive = 1e-2) -> None:
        super().__init__()
        self.samples = samples
        self.sigma = sigma
        self._noted: list[Site] = []
        self._open: dict[Site, Tensor] = {}
        """Where the ReLU behind a site is open."""

    @contextmanager
    def recording(self, blocks: Sequence[Block]) -> Iterator[None]:
        """Hooks that note what every layer of the blocks sees and gives."""
        self._open = {}
        with self.watching(blocks) as self._noted:
            yield

    def enter(self, site: Site, rectified: bool) -> list[RemovableHandle]:
        """Hooks that note what the layer sees and gives, and where a ReLU behind it is open."""

        def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # Copies: a norm or an activation behind it may work in place.
            site.given, site.z = inputs[0], output.clone()

        def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if rectified:
                self._open[site] = output > 0

        return [site.layer.register_forward_hook(note), site.last.register_forward_hook(look)]

    def backward(self, rows: Tensor, factor: Tensor | None) -> None:
        """The head's gradient; those of the layers are estimated."""
        if rows.requires_grad:
            (rows if factor is None else rows * factor).mean().backward()

    @torch.no_grad()
    def estimate(
        self, blocks: Sequence[Block], losses: Callable[[], Tensor], draws: torch.Generator
    ) -> None:
        """Leave the estimates in the layers' gradients."""
        sites = [site for site in self._noted if site.z is not None]
        if not sites:
            raise InputError("update 'node-perturbation': no layer with weights has been called")
        total: dict[Site, Tensor | float] = dict.fromkeys(sites, 0.0)
        for _ in range(self.samples):
            for site in sites:
                assert site.z is not None
                drawn = torch.randn(site.z.shape, generator=draws, device=draws.device)
                noise = torch.empty_like(site.z).copy_(drawn)
                site.noise = noise * self._open[site] if site in self._open else noise
            ahead, behind = (self._moved(sites, way, losses) for way in (self.sigma, -self.sigma))
            slope = (ahead - behind) / (2 * self.sigma * self.samples)
            own = pooled(slope, sites, blocks)
            for site in sites:
                assert site.noise is not None
                total[site] = total[site] + site.noise * spread(own, site.noise) / slope.numel()
        for site, gradient in total.items():
            assert isinstance(gradient, Tensor)
            pull_back(site, gradient)
        self._noted, self._open = [], {}

    def _moved(self, sites: Sequence[Site], way: float, losses: Callable[[], Tensor]) -> Tensor:
        """The losses with the noise added, ``way`` times."""

        def moving(site: Site) -> RemovableHandle:
            def move(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                assert site.noise is not None
                return output + way * site.noise

            return site.last.register_forward_hook(move)

        hooks = [moving(site) for site in sites]
        try:
            return losses()
        finally:
            for hook in hooks:
                hook.remove()
