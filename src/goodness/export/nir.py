"""Spiking networks in the Neuromorphic Intermediate Representation (NIR, arXiv 2311.14641)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from goodness.errors import InputError
from goodness.extras import needs
from goodness.models.spiking import LeakyIntegrateAndFire, SpikingLayer
from goodness.network.network import Network
from goodness.readout.linear import Output

if TYPE_CHECKING:
    import nir
    import numpy as np

DT = 1e-4
"""Seconds that a time step stands for, by which time constants are expressed."""


def to_bytes(network: Network) -> bytes:
    """The graph of `to_nir` as a file, HDF5.

    Raises:
        InputError: as `to_nir` does.
    """
    graph = to_nir(network)
    import nir

    file = io.BytesIO()
    nir.write(file, graph)
    return file.getvalue()


def to_nir(network: Network, dt: float = DT) -> nir.NIRGraph:
    """The graph of a network of spiking neurons, for neuromorphic hardware and simulators.

    Its input is what enters the first block, an image (C, H, W), the same at each of T steps; its
    output are the spikes of the last neurons, or where the network answers by readout ``output``
    its scores (K,), of which the mean over the steps counts. A batch norm is part of the weights of
    its convolution. Neurons are ``LIF`` nodes with ``tau = dt / (1 - leak)`` and ``r = 1 /
    (1 - leak)``, or ``IF`` nodes where nothing leaks; by Euler steps of ``dt`` they do what
    `goodness.models.spiking.LeakyIntegrateAndFire` does, spike by spike. A step of the graph has
    ``metadata["dt"]`` seconds, and there are ``metadata["steps"]``.

    Args:
        network: of model ``spiking-cnn``, with average pooling, a batch norm or none, and nothing
            that changes spikes between blocks.
        dt: seconds of a time step.

    Raises:
        InputError: nir is not installed, or the network has what NIR cannot say.
    """
    needs("spiking", "nir")
    import nir

    _check_boundaries(network)
    nodes: dict[str, nir.NIRNode] = {}
    shape: tuple[int, ...] = network[0].spec.input
    steps = 0
    nodes["input"] = nir.Input(_array(shape))
    for place, (layer, neurons) in enumerate(_layers(network), start=1):
        weight, bias = _folded(layer)
        padding, larger = layer.conv.kernel_size[0] // 2, 1 - layer.conv.kernel_size[0] % 2
        around = {"stride": 1, "padding": padding, "dilation": 1, "groups": 1}
        nodes[f"conv{place}"] = nir.Conv2d(shape[1:], weight, bias=bias, **around)
        side = 2 if isinstance(layer.pool, nn.AvgPool2d) else 1
        if side > 1:
            nodes[f"pool{place}"] = nir.AvgPool2d(
                *map(_array, ((side, side), (side, side), (0, 0)))
            )
        height, width = (size + larger for size in shape[1:])
        shape = (len(weight), height // side, width // side)
        nodes[f"lif{place}"] = _neurons(neurons, shape, dt)
        steps = neurons.steps
    answer = network.readouts.get(network.readout)
    if isinstance(answer, Output):
        nodes |= _answer(answer, shape)
        shape = (network.num_classes,)
    nodes["output"] = nir.Output(_array(shape))
    names = list(nodes)
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes, edges, metadata={"steps": steps, "dt": dt})


def _check_boundaries(network: Network) -> None:
    for block in network:
        if type(block.boundary).changes_features():
            raise InputError(
                f"block '{block.name}': NIR has no norm, and what stands between blocks changes"
                " spikes (train with --boundary identity)"
            )


def _layers(network: Network) -> Iterator[tuple[SpikingLayer, LeakyIntegrateAndFire]]:
    """Every layer with its neurons."""
    parts = [part for block in network for part in (block.body, block.tail)]
    found = [
        module
        for part in parts
        for module in part.modules()
        if isinstance(module, SpikingLayer | LeakyIntegrateAndFire)
    ]
    inside = {id(own) for module in found for own in module.modules()}
    for module in (own for part in parts for own in part.modules()):
        if id(module) not in inside and not list(module.children()) and _does_something(module):
            raise InputError(
                f"NIR is for model 'spiking-cnn': {type(module).__name__} is not of it"
            )
    for layer, neurons in zip(found[::2], found[1::2], strict=True):
        assert isinstance(layer, SpikingLayer)
        assert isinstance(neurons, LeakyIntegrateAndFire)
        yield layer, neurons


def _does_something(module: nn.Module) -> bool:
    return not isinstance(module, nn.Identity | nn.Sequential)


@torch.no_grad()
def _folded(layer: SpikingLayer) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of a convolution with the norm behind its pooling, as in evaluation."""
    if isinstance(layer.pool, nn.MaxPool2d):
        raise InputError("NIR has no maximum pooling (train with --set model.pool=avg)")
    conv, norm = layer.conv, layer.norm
    weight = conv.weight.double()
    bias = torch.zeros(len(weight)).to(weight) if conv.bias is None else conv.bias.double()
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.affine:
            scale = scale * norm.weight
        bias = (bias - norm.running_mean) * scale
        bias = bias + norm.bias if norm.affine else bias
        weight = weight * scale[:, None, None, None]
    elif not isinstance(norm, nn.Identity):
        raise InputError(
            "NIR has no norm that depends on the currents themselves (train with --set"
            " model.norm=batch)"
        )
    return _values(weight), _values(bias)


def _neurons(neurons: LeakyIntegrateAndFire, shape: tuple[int, ...], dt: float) -> nir.NIRNode:
    import nir
    import numpy as np

    def full(value: float) -> np.ndarray:
        return np.full(shape, value, np.float32)

    # A neuron of NIR sends a spike above its threshold, one of ours at it.
    threshold = full(np.nextafter(np.float32(neurons.threshold), np.float32(-np.inf)))
    if neurons.leak == 1:
        return nir.IF(r=full(1 / dt), v_threshold=threshold, v_reset=full(0))
    kept = 1 - neurons.leak
    common = {"v_leak": full(0), "v_threshold": threshold, "v_reset": full(0)}
    return nir.LIF(tau=full(dt / kept), r=full(1 / kept), **common)


def _answer(readout: Output, shape: tuple[int, ...]) -> dict[str, Any]:
    """A linear map of the last spikes, averaged over cells."""
    import nir

    cells = readout.pools[-1]
    kernel = shape[1] // cells, shape[2] // cells
    if (kernel[0] * cells, kernel[1] * cells) != shape[1:]:
        raise InputError(
            f"readout 'output': a map of {shape[1]}x{shape[2]} has no {cells}x{cells} equal cells,"
            " and NIR no others (train with --set readouts.output.pool=1)"
        )
    linear = readout.maps[0]
    assert isinstance(linear, nn.Linear)
    flat = (shape[0], cells, cells)
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    return {
        "average": nir.AvgPool2d(*map(_array, (kernel, kernel, (0, 0)))),
        "flatten": nir.Flatten({"input": _array(flat)}, start_dim=0, end_dim=-1),
        "scores": nir.Affine(_values(linear.weight), _values(bias)),
    }


def _array(values: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    return np.array(values)


def _values(x: Tensor) -> np.ndarray:
    values: np.ndarray = x.detach().cpu().float().numpy()
    return values
