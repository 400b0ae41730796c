"""Mono-Forward (arXiv 2501.09238): a learned projection per layer, cross-entropy on it.

A layer's class goodness is its activity times a learned matrix; layer and matrix learn from the
cross-entropy of that goodness. No positive and negative passes, no normalisation in between. The
prediction is the sum of all layers' goodness, or the last layer's.

How a CNN's maps meet the projection, the optimizer and the architectures are not verified: maps are
flattened (averaged to at most 4096 features), Adam 1e-3. Reported: CIFAR-10 82.4 %, CIFAR-100 54.8
or 63.28 %, FashionMNIST 93.98 %, conflicting across versions.

    goodness train --method mono-forward --data mnist
"""

from __future__ import annotations

from goodness.methods.base import BY_DATA, CROP_AND_FLIP, LAYERWISE, Locality, Method, register

MONO_FORWARD = register(
    Method(
        name="mono-forward",
        title="A learned projection per layer, cross-entropy on it",
        equation="G = M h,  loss = -log softmax(G)_y",
        use="A strong simple local baseline; the head is large on large maps.",
        paper="arXiv 2501.09238",
        locality=Locality.LAYER,
        values={
            **LAYERWISE,
            "model": {"name": "small-cnn", "widths": [64, 128, 256, 512], "pool": "max"},
            "objective": {"name": "classifier", "pool": None, "most": 4096, "bias": False},
            "readouts": {"sum": {}, "last": {}},
            "optimizer": {"name": "adam", "lr": 1e-3},
            "lr_schedule": "cosine",
            "epochs": 40,
            "batch_size": 128,
            "augment": CROP_AND_FLIP,
        },
        for_data=BY_DATA,
        published={"fashion_mnist": 93.98, "cifar10": 82.4, "cifar100": 63.28},
    )
)
