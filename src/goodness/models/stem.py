"""Networks made for 224 pixels, fitted to small images."""

from __future__ import annotations

import torch
from torch import nn

from goodness.partition.chain import POOLS, Chain

LEAST = 4
"""Pixels a side that the last convolved map shall have."""


def fit_stem(network: nn.Module, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Leave out the earliest strides and poolings of a network whose last map would be too small.

    As is usual for 32-pixel images: ResNet loses the stride of its first convolution and the
    pooling behind it, MobileNetV3 its first three strides. Strides of patches are
    halved where symmetric padding can make up for it (ConvNeXt's stem). Networks without skip
    connections (VGG) and transformers stay as they are. Weights keep their shapes.

    Args:
        network: with a classifier; changed in place.
        image_shape: input shape (C, H, W).
        num_classes: number of classes.
    """
    while True:
        chain = Chain(network, torch.zeros(2, *image_shape), num_classes)
        features = chain.atoms[: chain.head]
        convolved = [place for place in range(chain.head) if _convolves(chain, place)]
        has_tokens = any(len(atom.shape) == 2 for atom in features)
        if not convolved or has_tokens or not any(atom.skip for atom in features):
            return network
        last = convolved[-1]
        if min(features[last].shape[1:]) >= LEAST:
            return network
        shrinking = (
            place for place in range(last + 1) if features[place].shape[-1] < chain.given(place)[-1]
        )
        if not any(_keep_size(network, chain, place) for place in shrinking):
            return network


def _convolves(chain: Chain, place: int) -> bool:
    """Whether an atom looks at neighbouring pixels; behind the last one of these comes no map."""
    modules = map(chain.traced.module_of, chain.nodes(place))
    return any(isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1 for m in modules)


def _keep_size(network: nn.Module, chain: Chain, place: int) -> bool:
    """Halve the strides of an atom; whether there were any that can be."""
    changed = False
    for node in chain.nodes(place):
        module = chain.traced.module_of(node)
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
            stride = max(module.stride) // 2
            padding, odd = divmod(module.kernel_size[0] - stride, 2)
            if odd:  # a patch of 2x2 pixels would need more padding on one side
                continue
            module.stride = (stride, stride)
            if type(module) is nn.Conv2d:  # subclasses have their own ways
                module.padding = (padding, padding)
            changed = True
        elif isinstance(module, POOLS):
            parent, _, leaf = str(node.target).rpartition(".")
            setattr(network.get_submodule(parent), leaf, nn.Identity())
            changed = True
    return changed
