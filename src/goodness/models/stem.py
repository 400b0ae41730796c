"""Networks made for 224 pixels, fitted to small images."""

from __future__ import annotations

import torch
from torch import nn

from goodness.partition.chain import POOLS, Chain
from goodness.types import Shape

LEAST = 4
"""Pixels a side that the last convolved map shall have."""
STRIDE = "own_stride"
"""The attribute of a changed module that holds the stride that its network gives it."""


def fit_stem(network: nn.Module, image_shape: Shape, num_classes: int) -> nn.Module:
    """Leave out the earliest strides and poolings of a network whose last map would be too small.

    As is usual for 32-pixel images: ResNet loses the stride of its first convolution and the
    pooling behind it, MobileNetV3 its first three strides. Strides of patches are
    halved where symmetric padding can make up for it (ConvNeXt's stem). Networks without skip
    connections (VGG) and transformers stay as they are. Weights keep their shapes. `stem_changes`
    says what was changed.

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
            place
            for place in range(last + 1)
            if features[place].shape[-1] < chain.input_shape(place)[-1]
        )
        if not any(_keep_size(network, chain, place) for place in shrinking):
            return network


def stem_changes(*modules: nn.Module) -> str:
    """What `fit_stem` changed in parts of a network, such as ``"conv1: stride 1 instead of 2"``.

    Returns:
        An empty text where nothing was changed.
    """
    named = (item for module in modules for item in module.named_modules())
    found = [(name, part, getattr(part, STRIDE)) for name, part in named if hasattr(part, STRIDE)]
    return ", ".join(
        f"{name}: stride {max(part.stride)} instead of {stride}"
        if isinstance(part, nn.Conv2d)
        else f"{name}: left out"
        for name, part, stride in found
    )


def _convolves(chain: Chain, place: int) -> bool:
    """Whether an atom mixes neighbouring pixels; behind the last one of these comes no map."""
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
            setattr(module, STRIDE, getattr(module, STRIDE, max(module.stride)))
            module.stride = (stride, stride)
            if type(module) is nn.Conv2d:  # subclasses have their own ways
                module.padding = (padding, padding)
            changed = True
        elif isinstance(module, POOLS):
            parent, _, leaf = str(node.target).rpartition(".")
            left_out = nn.Identity()
            setattr(left_out, STRIDE, getattr(module, "stride", None))
            setattr(network.get_submodule(parent), leaf, left_out)
            changed = True
    return changed
