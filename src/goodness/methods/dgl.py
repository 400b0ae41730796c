"""Decoupled greedy learning, DGL (Belilovsky et al., arXiv 1901.08164), and its relative BWBPF.

Every block has an auxiliary network that ends in a cross-entropy, and all blocks learn in parallel;
the last one predicts. `bwbpf` (arXiv 2312.13311) cuts the network at its stages and gives each
a pooled linear head. Its released code detaches nowhere, which makes it deep supervision; here it
is detached.

DGL's values are those of its code's study of auxiliary networks: SGD .1 with momentum .9 and weight
decay 5e-4, times .2 every 15 of 50 epochs; six convolutions from 128 to 512 channels, drawn as
torch does it, poolings before the second and the fourth, and a smaller head at the last one.
Reported for BWBPF's code (not local): CIFAR-10 95.52 %.

    goodness train --method dgl --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import BY_DATA, CROP_AND_FLIP, LAYERWISE, Locality, Method, register

DGL = register(
    Method(
        name="dgl",
        title="Decoupled greedy learning with auxiliary networks",
        equation="loss = CE(A_l(h), y),  A_l an auxiliary network",
        use="Accuracy first; the auxiliary networks cost time and memory.",
        paper="arXiv 1901.08164",
        locality=Locality.LAYER,
        values={
            **LAYERWISE,
            "model": {
                "name": "cnn",
                "widths": [128, 256, 256, 512, 512, 512],
                "pools": [1, 3],
                "skip_pools": True,
                "init": "default",
            },
            "objective": {"name": "auxiliary", "last": "mlp"},
            "readouts": {"last": {}},
            "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
            "lr_schedule": {"name": "steps", "factor": 0.2, "at": [0.3, 0.6, 0.9]},
            "epochs": 50,
            "batch_size": 128,
            "augment": CROP_AND_FLIP,
        },
        for_data=BY_DATA,
    )
)

BWBPF = register(
    Method(
        name="bwbpf",
        title="Block-wise learning of stages with pooled linear heads",
        equation="loss = CE(W GAP(h), y) per stage",
        use="Few large blocks.",
        paper="arXiv 2312.13311",
        locality=Locality.BLOCK,
        values={
            **DGL.values,
            "partition": "block",
            "objective": {"name": "auxiliary", "head": "linear"},
            "lr_schedule": "cosine",
            "epochs": 400,
        },
        for_data=BY_DATA,
    )
)
