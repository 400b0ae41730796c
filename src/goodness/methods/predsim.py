"""PredSim: local error signals (Nøkland and Eidnes 2019, arXiv 1901.06656).

Every layer predicts the class from its pooled features, and matches the similarities of its
features in the batch to those of the labels: 0.01 cross-entropy + 0.99 similarity matching. The
strongest layer-local method published. `--set objective.beta=0` is the paper's "pred".

The paper's test errors, % (BP / predsim): MNIST .26 / .31, FashionMNIST 4.53 / 4.65 (VGG8B),
CIFAR-10 5.56 / 5.30 (VGG11B; 4.02 / 3.97 three times as wide), CIFAR-100 25.18 / 24.05 (VGG11B),
SVHN 2.29 / 1.74.
Deviations: no special batches of 20 classes for CIFAR-100; the output layer's loss is not weighed
by 1 - b, which Adam all but undoes.

    goodness train --method predsim --data cifar10              # VGG8B, 400 epochs: needs a GPU
    goodness train --method predsim-fast --data cifar10
"""

from __future__ import annotations

from goodness.methods.asge_fast import ASGE_FAST
from goodness.methods.base import (
    BY_DATA,
    CROP_AND_FLIP,
    LAYERWISE,
    SHORT_RUN,
    Locality,
    Method,
    register,
)

PREDSIM = register(
    Method(
        name="predsim",
        title="Local prediction and similarity matching, the paper's values",
        equation=(
            "loss = (1 - b) CE(W pool(h), y) + b |S(h) - S(y)|^2,  S the cosine similarities "
            "within the batch"
        ),
        use="The most accurate layer-local method; needs large batches and a GPU.",
        paper="arXiv 1901.06656",
        locality=Locality.LAYER,
        values={
            **LAYERWISE,
            "model": "vgg8b",
            "objective": {"name": "similarity", "padded": True},
            "boundary": {"name": "identity", "dropout": 0.2, "whole_channels": True},
            "readouts": {"output": {}, "last": {}, "sum": {}},
            "optimizer": {"name": "adam", "lr": 5e-4},
            "lr_schedule": {"name": "steps", "factor": 0.25, "at": [0.5, 0.75, 0.875, 0.9375]},
            "epochs": 400,
            "batch_size": 128,
            "augment": CROP_AND_FLIP,
        },
        for_data={
            "digits": {**BY_DATA["digits"], "model": {"name": "mlp", "norm": "batch"}},
            "mnist": {**BY_DATA["mnist"], "epochs": 100, "objective": {"most": 1024}},
            "fashion_mnist": {
                **BY_DATA["fashion_mnist"],
                "epochs": 200,
                "objective": {"most": 1024},
                "boundary": {"dropout": 0.1},
            },
            "cifar100": {"objective": {"most": 4096}, "boundary": {"dropout": 0.05}},
            "svhn": {**BY_DATA["svhn"], "epochs": 100, "lr": 3e-4, "boundary": {"dropout": 0.3}},
        },
        published={
            "mnist": 99.69,
            "fashion_mnist": 95.67,
            "cifar10": 96.03,
            "cifar100": 79.87,
            "svhn": 98.26,
        },
        equal={"lr": 3e-3},
        equal_note=SHORT_RUN,
    )
)

PREDSIM_FAST = register(
    Method(
        name="predsim-fast",
        title="Local prediction and similarity matching, for CPUs",
        equation="loss = (1 - b) CE(W pool(h), y) + b |S(h) - S(y)|^2",
        use="The same on CPUs.",
        paper=PREDSIM.paper,
        locality=Locality.LAYER,
        values={
            **ASGE_FAST.values,
            "objective": "similarity",
            "readouts": PREDSIM.values["readouts"],
            "optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 1e-2},
        },
        for_data=ASGE_FAST.for_data,
    )
)
