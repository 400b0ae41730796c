"""Cut networks against uncut ones: largest difference of the scores in evaluation mode.

    python benchmarks/exactness.py --json results/exactness.json

Every network has weights and running statistics drawn at random. At every partition its blocks
run one after another, with nothing between them; then their weights are saved, loaded into a
plain new network of the library, and that one is compared too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from goodness import localize
from goodness.reports.environment import environment
from runs import write

NETWORKS = [
    *("torchvision/resnet18", "torchvision/resnet50", "timm/resnet18"),
    *("torchvision/mobilenet_v3_small", "torchvision/mobilenet_v3_large"),
    *("timm/mobilenetv3_small_100", "torchvision/vgg11_bn"),
    *("torchvision/densenet121", "timm/densenet121"),
    *("torchvision/efficientnet_b0", "timm/efficientnet_b0"),
    *("torchvision/convnext_tiny", "timm/convnext_atto"),
    *("torchvision/regnet_y_400mf", "timm/regnety_002"),
    *("torchvision/vit_b_16", "timm/vit_tiny_patch16_224"),
    *("torchvision/swin_t", "timm/swin_tiny_patch4_window7_224"),
]
SIDE = 64


def plain(name: str) -> nn.Module:
    """The library's own network, with random weights and statistics."""
    family, _, model = name.partition("/")
    sized = "vit" in name or name.startswith("timm/swin")
    if family == "timm":
        options: dict[str, Any] = {"img_size": SIDE} if sized else {}
        network = timm.create_model(model, num_classes=10, **options)
    else:
        options = {"image_size": SIDE} if sized else {}
        network = torchvision.models.get_model(model, num_classes=10, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


@torch.no_grad()
def compare(name: str, partition: str, x: Tensor) -> dict[str, Any]:
    """One row."""
    torch.manual_seed(0)
    model = plain(name)
    expected = model(x)
    values = {"boundary": "identity", "channels_last": False}
    network = localize(model, "sff", partition, image_shape=tuple(x.shape[1:]), **values).eval()
    network.readout = "head"
    state = network.backbone_state()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({key: value.contiguous().clone() for key, value in state.items()}, path)
        torch.manual_seed(1)
        again = plain(name)
        again.load_state_dict(load_file(path))
    return {
        "blocks": len(network),
        "difference": float((network(x) - expected).abs().max()),
        "after_saving_and_loading": float((again(x) - expected).abs().max()),
        "same_keys": sorted(state) == sorted(model.state_dict()),
    }


def main() -> None:
    """Every network at every partition."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(4, 3, SIDE, SIDE)
    rows: dict[str, Any] = {}
    for name in NETWORKS:
        rows[name] = {kind: compare(name, kind, x) for kind in ("layer", "block", "stage")}
        print(name, rows[name], file=sys.stderr, flush=True)
    if args.json:
        write(
            args.json,
            {
                "schema": 1,
                "command": f"python benchmarks/exactness.py --json results/{args.json.name}",
                "environment": environment(None),
                "timm": timm.__version__,
                "image": list(x.shape),
                "networks": rows,
            },
        )


if __name__ == "__main__":
    main()
