"""ASGE for minutes on two CPU cores: the paper's objective, our normalisation and schedule."""

from __future__ import annotations

from goodness.methods.asge import ASGE
from goodness.methods.base import BY_DATA, CROP_AND_FLIP, Locality, Method, register

ASGE_FAST = register(
    Method(
        name="asge-fast",
        title="ASGE with batch norm and a short schedule, for CPUs",
        equation=(
            "a = s (g R + b),  g = mean of h^2 over a P x P grid,  s = sqrt(K / (C P^2)),  loss ="
            " -log softmax(a)_y"
        ),
        use="Small networks, minutes, no trained head.",
        paper=ASGE.paper,
        locality=Locality.LAYER,
        values={
            **ASGE.values,
            "model": {"name": "small-cnn", "norm": "batch", "pool": "max"},
            "presentation": "plain",
            "objective": {"name": "spatial-goodness", "alpha": 0.5, "unit_scale": True},
            "boundary": "identity",
            "optimizer": {"name": "adamw", "lr": 1e-2, "weight_decay": 1e-2, "betas": [0.9, 0.99]},
            "lr_schedule": {"name": "cosine", "warmup": 0.2},
            "epochs": 16,
            "image_size": None,
            "normalize": True,
            "augment": CROP_AND_FLIP,
        },
        for_data={**BY_DATA, "digits": {**BY_DATA["digits"], "epochs": 40, "batch_size": 64}},
    )
)
