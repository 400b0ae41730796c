"""How much faster a layer-local step can be than backpropagation's: f + d + w against f + w."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from goodness.devices import synchronize
from goodness.modes import evaluating
from goodness.network.network import Network

Call = Callable[[], object]


@dataclass(frozen=True)
class Convolution:
    """Seconds of one convolution: forward, input gradient, weight gradient."""

    block: int
    forward: float
    input_gradient: float
    """0 in front of which nothing is trained."""
    weight_gradient: float


@torch.no_grad()
def convolutions(network: Network, x: Tensor, y: Tensor, repeats: int = 5) -> list[Convolution]:
    """Time every convolution of a network's blocks alone, at the shapes that a step gives it.

    Args:
        network: its bodies' convolutions, in the layout that its configuration asks for.
        x: images (N, C, H, W).
        y: their classes (N,).
        repeats: the median of so many is taken.
    """
    shapes: list[tuple[int, nn.Conv2d, torch.Size]] = []

    def note(block: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            assert isinstance(module, nn.Conv2d)
            shapes.append((block, module, given[0].shape))

        return hook

    hooks = [
        module.register_forward_pre_hook(note(index))
        for index, block in enumerate(network)
        for module in block.body.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with evaluating(network):
        for _ in network.walk(network.training_rows(x, y)):
            pass
    for hook in hooks:
        hook.remove()
    return [
        _measure(block, module, shape, first=place == 0, network=network, repeats=repeats)
        for place, (block, module, shape) in enumerate(shapes)
    ]


def bound(found: list[Convolution]) -> float:
    """(f + d + w) / (f + w) over all convolutions."""
    local = sum(c.forward + c.weight_gradient for c in found)
    return (local + sum(c.input_gradient for c in found)) / local


@torch.no_grad()
def _measure(
    block: int, conv: nn.Conv2d, shape: torch.Size, first: bool, network: Network, repeats: int
) -> Convolution:
    device, dtype = network.device, torch.float32
    if network.config.amp != "none":
        dtype = torch.float16 if network.config.amp == "fp16" else torch.bfloat16
    weight = conv.weight.to(dtype)
    layout = {"memory_format": network.memory_format}
    x = torch.randn(shape, device=device, dtype=dtype).contiguous(**layout)
    padding = conv.padding if isinstance(conv.padding, str) else tuple(conv.padding)

    def forward() -> Tensor:
        return F.conv2d(x, weight, None, conv.stride, padding, conv.dilation, conv.groups)

    gradient = torch.randn_like(forward())
    pad = [0, 0] if isinstance(conv.padding, str) else list(conv.padding)
    if conv.padding == "same":
        pad = [d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]

    def backward(wanted: list[bool]) -> Call:
        return lambda: torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight,
            None,
            list(conv.stride),
            pad,
            list(conv.dilation),
            False,
            [0, 0],
            conv.groups,
            wanted,
        )

    return Convolution(
        block,
        seconds(forward, repeats, device),
        0.0 if first else seconds(backward([True, False, False]), repeats, device),
        seconds(backward([False, True, False]), repeats, device),
    )


def seconds(call: Call, repeats: int, device: torch.device) -> float:
    """The median of ``repeats`` timings after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        started = now(device)
        call()
        times.append(now(device) - started)
    return statistics.median(times[1:])


def now(device: torch.device) -> float:
    """The time in seconds at which all work given to the device is done."""
    synchronize(device)
    return time.perf_counter()
