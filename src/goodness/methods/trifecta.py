"""The Trifecta (Dooms et al., TMLR 2024): symmetric loss, batch norm, overlapping local updates.

A learned picture of the label is an additional input channel. Each pair of rows, with the true and
with a wrong label, has the loss softplus(-4 (g_true - g_wrong)), g the mean square. A layer's loss
also trains the layer before it; which layers pair up alternates every step. The last layer's
goodness of all labels predicts.

Deviations: no rotation by 15 degrees; losses are of the maps before they are pooled, in the
released code of the pooled ones; the label's picture learns with both of the first layers'
optimizers. Reported: MNIST 99.58, FashionMNIST 91.44, CIFAR-10 83.51, CIFAR-100 35.26 %.

    goodness train --method trifecta --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import BY_DATA, LAYERWISE, Locality, Method, register

TRIFECTA = register(
    Method(
        name="trifecta",
        title="Symmetric goodness loss, overlapping updates",
        equation="loss = softplus(-4 (g_true - g_wrong)),  g = mean h^2",
        use="Forward-Forward with labels in the input, at its most accurate.",
        paper="arXiv 2311.18130, TMLR",
        locality=Locality.OVERLAPPING,
        values={
            **LAYERWISE,
            "model": {
                "name": "cnn",
                "widths": [128, 128, 256, 256, 256, 512],
                "pools": [1, 3, 6],
                "order": "norm-conv-act",
                "skip_pools": True,
                "init": "default",
            },
            "presentation": "label-channel",
            "objective": {"name": "pair-goodness", "goodness": "mean", "loss": "symba"},
            "plan": "pairs",
            "readouts": {"last": {}, "sum": {}},
            "optimizer": {"name": "adam", "lr": 1e-3},
            "lr_schedule": "constant",
            "epochs": 200,
            "batch_size": 512,
            "augment": {"crop": 4},
        },
        for_data={"digits": {**BY_DATA["digits"], "batch_size": 64}},
        published={"mnist": 99.58, "fashion_mnist": 91.44, "cifar10": 83.51, "cifar100": 35.26},
    )
)
