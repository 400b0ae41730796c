from __future__ import annotations

from safetensors.torch import save

from goodness.network.network import Network


def to_bytes(network: Network) -> bytes:
    """The weights of the model that was cut, by their names in torchvision or timm."""
    state = network.backbone_state()
    return save({key: value.contiguous().clone() for key, value in state.items()})
