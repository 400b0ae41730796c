"""Information propagation, InfoPro (Wang et al., ICLR 2021, arXiv 2101.10832).

Greedy local losses throw away what later blocks would need. InfoPro's local modules keep
information about the image (a small decoder reconstructs it) while they gather information about
the class (an auxiliary classifier); the weight moves from the first to the second with depth. The
last block predicts.

The first module's weights are those of ResNet-110 in two modules; what they become with depth (the
code's go to 0) is ours, and so are the rate and batch size (.8 and 1024 in the code). Errors there,
CIFAR-10, K = 2 / 4 / 8 / 16 modules: 6.42 / 7.30 / 8.93 / 9.90 %.

    goodness train --method infopro --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import BY_DATA, Locality, Method, register
from goodness.methods.dgl import DGL

INFOPRO = register(
    Method(
        name="infopro",
        title="Local modules that keep information about the image",
        equation="loss = l1 BCE(decoder(h), x) + l2 CE(A(h), y)",
        use="Few large blocks with small memory.",
        paper="arXiv 2101.10832",
        locality=Locality.BLOCK,
        values={
            **DGL.values,
            "partition": "block",
            "objective": "information",
            "optimizer": {**DGL.values["optimizer"], "weight_decay": 1e-4, "nesterov": True},
            "lr_schedule": "cosine",
            "epochs": 160,
        },
        for_data=BY_DATA,
        published={"cifar10": 93.58, "svhn": 96.85},
    )
)
