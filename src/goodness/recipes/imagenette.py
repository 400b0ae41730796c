"""Imagenette: photographs of ten classes, shown at 128 x 128 pixels."""

from __future__ import annotations

from goodness.recipes.base import BF16, Recipe, fast_frame, register

FAST = register(
    Recipe(
        name="imagenette-fast",
        method="spectral-local",
        values=fast_frame(
            data="imagenette",
            image_size=128,
            model={
                "name": "cnn",
                "widths": [32, 64, 128, 256, 256],
                "pools": [1, 2, 3, 4, 5],
                "shortcut": "equal",
            },
            epochs=30,
            amp="bf16",
            batch_size=125,
            augment={"crop": 12},
            flip_test=True,
        ),
        hardware="2 CPU cores",
        note=BF16,
    )
)

BEST = register(
    Recipe(
        name="imagenette-best",
        method="spectral-local",
        values=fast_frame(
            data="imagenette",
            image_size=128,
            model={
                "name": "cnn",
                "widths": [64, 128, 256, 256, 512, 512, 512],
                "pools": [1, 2, 3, 5, 7],
            },
            epochs=100,
            batch_size=125,
            augment={"crop": 12, "cutout": 32},
            flip_test=True,
            amp="bf16",
            compile=True,
        ),
        own={"objective": {"widths": [256]}},
        hardware="one modern GPU",
    )
)
