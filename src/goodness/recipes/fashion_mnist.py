"""FashionMNIST: grey clothes of 28 x 28 pixels."""

from __future__ import annotations

from goodness.recipes.base import BF16, Recipe, fast_frame, register

FAST = register(
    Recipe(
        name="fashion_mnist-fast",
        method="spectral-local",
        values=fast_frame(
            data="fashion_mnist",
            model={
                "name": "cnn",
                "widths": [64, 64, 128, 128, 256, 256],
                "pools": [1, 3, 5],
                "shortcut": "equal",
            },
            epochs=4,
            amp="bf16",
            flip_test=True,
        ),
        hardware="1 CPU core",
        minutes=8,
        accuracy=(93.11, 0.15),
        seeds=3,
        note=BF16,
    )
)

BEST = register(
    Recipe(
        name="fashion_mnist-best",
        method="spectral-local",
        values=fast_frame(
            data="fashion_mnist",
            model={
                "name": "cnn",
                "widths": [128, 128, 256, 256, 512, 512],
                "pools": [1, 3, 5],
                "shortcut": "equal",
            },
            epochs=60,
            augment={"cutout": 8},
            flip_test=True,
            amp="bf16",
            compile=True,
        ),
        own={"objective": {"widths": [256]}},
        hardware="one modern GPU",
    )
)
