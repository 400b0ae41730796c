"""Information propagation, InfoPro (Wang et al., ICLR 2021, arXiv 2101.10832).

Greedy local losses throw away what later blocks would need. InfoPro's local modules keep
information about the image (a small decoder reconstructs it) while they gather information about
the class (an auxiliary classifier); the weight moves from the first to the second with depth. The
last block predicts.

The network is ResNet-110, its residual blocks divided into two modules of equal cost, which is the
code's cut; the weights are those of its commands, by the number of modules (``--partition 16``).
Errors there, CIFAR-10, K = 2 / 4 / 8 / 16 modules: 6.42 / 7.30 / 8.93 / 9.90 %. Deviations: images
to reconstruct are scaled to [0, 1] channel by channel of the batch, and each module has class
scores, from a linear layer that teaches nothing else.

    goodness train --method infopro --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import BY_DATA, Locality, Method, register
from goodness.methods.dgl import DGL

INFOPRO = register(
    Method(
        name="infopro",
        title="Local modules that keep information about the image",
        equation="loss = l1 BCE(decoder(h), x) + l2 SupCon(A(h), y)",
        use="Few large blocks with small memory.",
        paper="arXiv 2101.10832",
        locality=Locality.BLOCK,
        values={
            **DGL.values,
            "model": {"name": "cifar-resnet", "depth": 110},
            "partition": {"name": "count", "blocks": 2},
            "objective": "information",
            "optimizer": {
                "name": "sgd",
                "lr": 0.8,
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "nesterov": True,
            },
            "lr_schedule": "cosine",
            "epochs": 160,
            "batch_size": 1024,
        },
        for_data=BY_DATA,
        published={"cifar10": 93.58, "svhn": 96.85},
    )
)
