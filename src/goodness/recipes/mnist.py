"""MNIST: handwritten digits, which are not mirrored."""

from __future__ import annotations

from goodness.recipes.base import BF16, Recipe, fast_frame, register

FAST = register(
    Recipe(
        name="mnist-fast",
        method="spectral-local",
        values=fast_frame(
            data="mnist",
            model={
                "name": "cnn",
                "widths": [32, 32, 64, 64, 128, 128],
                "pools": [1, 3, 5],
                "shortcut": "equal",
            },
            epochs=6,
            amp="bf16",
            augment={"flip": False},
        ),
        hardware="1 CPU core",
        minutes=4,
        accuracy=(99.64, 0.02),
        seeds=3,
        note=BF16,
    )
)

BEST = register(
    Recipe(
        name="mnist-best",
        method="spectral-local",
        values=fast_frame(
            data="mnist",
            model={
                "name": "cnn",
                "widths": [64, 64, 128, 128, 256, 256],
                "pools": [1, 3, 5],
                "shortcut": "equal",
            },
            epochs=60,
            augment={"flip": False},
            amp="bf16",
            compile=True,
        ),
        own={"objective": {"widths": [256]}},
        hardware="one modern GPU",
    )
)
