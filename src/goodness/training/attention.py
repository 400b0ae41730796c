"""Where in images the first block's map is strong."""

from __future__ import annotations

import torch
from torch import Tensor

from goodness.errors import InputError
from goodness.modes import evaluating
from goodness.network.network import Network
from goodness.seeds import kept_generators


def check_attention(network: Network) -> None:
    """Refuse a network whose first block gives no map.

    Raises:
        InputError: saying so.
    """
    _, height, width = network[0].spec.features
    if height * width == 1:
        raise InputError(
            f"augment.attentive_cutmix: block '{network[0].name}' gives no map to look at (use"
            " augment.cutmix)"
        )


@torch.no_grad()
def attention(network: Network, images: Tensor) -> Tensor:
    """The mean over channels of the first block's magnitudes, in evaluation mode.

    That block and no later one: what a block learns from would otherwise depend on blocks behind
    it, and a process that trains the first blocks alone would not have them.

    Args:
        network: the one that answers, with averaged weights if there are any.
        images: preprocessed (N, C, H, W).

    Returns:
        (N, H', W').
    """
    with evaluating(network), kept_generators(images.device):
        value = network.value(0, network.neutral_rows(images))
        return network[0].features(value).abs().mean(1)
