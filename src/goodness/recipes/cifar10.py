"""CIFAR-10: six convolutions behind a whitening layer, the shape of airbench94 (2404.00498)."""

from __future__ import annotations

from goodness.recipes.base import BF16, Recipe, fast_frame, register

FAST = register(
    Recipe(
        name="cifar10-fast",
        method="spectral-local",
        values=fast_frame(
            data="cifar10",
            model={
                "name": "cnn",
                "widths": [64, 64, 128, 128, 256, 256],
                "pools": [1, 3, 5],
                "shortcut": "equal",
            },
            epochs=7,
            amp="bf16",
            flip_test=True,
        ),
        hardware="1 CPU core",
        minutes=16,
        accuracy=(90.85, 0.45),
        seeds=3,
        note=BF16,
    )
)

BEST = register(
    Recipe(
        name="cifar10-best",
        method="spectral-local",
        values=fast_frame(
            data="cifar10",
            model={
                "name": "cnn",
                "widths": [128, 128, 384, 384, 512, 512],
                "pools": [1, 3, 5],
                "shortcut": "equal",
            },
            epochs=60,
            batch_size=500,
            augment={"cutout": 8},
            flip_test=True,
            amp="bf16",
            compile=True,
        ),
        own={"objective": {"widths": [256]}},
        hardware="one modern GPU",
    )
)
